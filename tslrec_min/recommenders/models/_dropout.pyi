import numpy as np
from numpy.typing import NDArray

def drop_rows(values: NDArray[np.float32], out: NDArray[np.float32], rows: NDArray[np.int64], key: int,
              threshold: int, scale: float, num_threads: int) -> None: ...
