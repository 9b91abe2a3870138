import numpy as np
from numpy.typing import NDArray

def draw_unseen(indptr: NDArray[np.int64], items: NDArray[np.int32], filter_indptr: NDArray[np.int64],
                bits: NDArray[np.uint64], n_items: int, attempts: int, thresholds: NDArray[np.uint64] | None,
                aliases: NDArray[np.int32] | None, weights: NDArray[np.float64] | None, users: NDArray[np.int64],
                positions: NDArray[np.int64], seed: int, epoch: int, out: NDArray[np.int64],
                num_threads: int) -> int: ...
