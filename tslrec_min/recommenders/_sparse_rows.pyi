import numpy as np
from numpy.typing import NDArray

def count_items(indptr: NDArray[np.int64], items: NDArray[np.int32], row_indptr: NDArray[np.int64],
                row_items: NDArray[np.int32], bits: NDArray[np.uint64], counts: NDArray[np.int64],
                num_threads: int) -> None: ...
def add_rows(indptr: NDArray[np.int64], items: NDArray[np.int32], weights: NDArray[np.float64],
             row_indptr: NDArray[np.int64], row_items: NDArray[np.int32],
             row_values: NDArray[np.float32] | NDArray[np.float64], bits: NDArray[np.uint64],
             sums: NDArray[np.float64], out_indptr: NDArray[np.int64], out_items: NDArray[np.int32],
             out_values: NDArray[np.float32], num_threads: int) -> None: ...
