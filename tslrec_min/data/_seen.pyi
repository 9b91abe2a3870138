import numpy as np
from numpy.typing import NDArray

def fill_filter(indptr: NDArray[np.int64], items: NDArray[np.int32], filter_indptr: NDArray[np.int64],
                bits: NDArray[np.uint64]) -> None: ...
