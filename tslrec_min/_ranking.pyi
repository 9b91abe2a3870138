import numpy as np
from numpy.typing import NDArray

def count_scores(scores: NDArray[np.float32] | NDArray[np.float64], n_items: int, targets: NDArray[np.int64],
                 users: NDArray[np.int64], indptr: NDArray[np.int64], seen: NDArray[np.int32],
                 greater: NDArray[np.int64], equal: NDArray[np.int64], candidates: NDArray[np.int64],
                 not_finite: NDArray[np.int64], num_threads: int) -> None: ...
