import numpy as np
from numpy.typing import NDArray

def left_pad(items: NDArray[np.int32] | NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64],
             out: NDArray[np.int64], num_threads: int) -> None: ...
