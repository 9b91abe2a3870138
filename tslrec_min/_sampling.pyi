import numpy as np
from numpy.typing import NDArray

def draw_unseen(indptr: NDArray[np.int64], seen: NDArray[np.int32], n_items: int, users: NDArray[np.int64],
                positions: NDArray[np.int64], seed: int, epoch: int, out: NDArray[np.int64],
                num_threads: int) -> None: ...
