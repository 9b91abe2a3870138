import numpy as np
from numpy.typing import NDArray

def pad_rows(items: NDArray[np.int32] | NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64],
             skipped: NDArray[np.int64], out: NDArray[np.int64], num_threads: int) -> None: ...

def hide_items(inputs: NDArray[np.int64], targets: NDArray[np.int64], lengths: NDArray[np.int64],
               keys: NDArray[np.int64], mask: int, seed: int, epoch: int, threshold: int, last_threshold: int,
               num_threads: int) -> None: ...
