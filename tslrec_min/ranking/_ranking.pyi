import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

def instruction_sets() -> list[str]: ...
def count_targets(states: Floats, item_table: Floats, bias: Floats, sparse_indptr: NDArray[np.int64],
                  sparse_items: NDArray[np.int32], sparse_values: Floats, targets: NDArray[np.int64],
                  seen_rows: NDArray[np.int64], indptr: NDArray[np.int64], seen: NDArray[np.int32],
                  target_scores: Floats, greater: NDArray[np.int64], equal: NDArray[np.int64],
                  n_candidates: NDArray[np.int64], not_finite: NDArray[np.int64], isa: int,
                  num_threads: int) -> None: ...
def find_best(states: Floats, item_table: Floats, bias: Floats, sparse_indptr: NDArray[np.int64],
              sparse_items: NDArray[np.int32], sparse_values: Floats, seen_rows: NDArray[np.int64],
              indptr: NDArray[np.int64], seen: NDArray[np.int32], best_items: NDArray[np.int64], best_scores: Floats,
              not_finite: NDArray[np.int64], isa: int, num_threads: int) -> None: ...
