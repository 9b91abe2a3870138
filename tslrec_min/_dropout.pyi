import numpy as np
from numpy.typing import NDArray

def drop_rows(values: NDArray[np.float32], out: NDArray[np.float32], key: int, first_row: int, threshold: int,
              scale: float, num_threads: int) -> None: ...
