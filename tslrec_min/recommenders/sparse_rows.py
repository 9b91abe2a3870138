"""Sparse scores from counts: for each user, the sum of the rows of a few items with weights.

This is the product of two sparse matrices row by row, as Gustavson, "Two Fast Algorithms for Sparse Matrices:
Multiplication and Permuted Transposition", ACM TOMS 4(3), 1978.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.csr import offsets
from ..data.seen import MOST_ITEMS
from ..ranking.sparse_rows import SparseRows
from ..runtime.validation import as_int64, as_offsets, check_length, check_range, threads_for, whole_number
from ._sparse_rows import add_rows, count_items

_USERS_PER_THREAD = 32


def weighted_row_sums(indptr: ArrayLike, items: ArrayLike, weights: ArrayLike, row_indptr: ArrayLike,
                      row_items: ArrayLike, row_values: NDArray[Any], n_items: int,
                      num_threads: int = 1) -> SparseRows:
    """Add up, for each user, the rows of the items of all entries, each times the entry's weight.

    Sums are taken in float64 in the order of the entries, whatever the number of threads. An item of any row that was
    added has an entry, also if its sum is 0.

    Args:
        indptr: int64 [B + 1]: user b has the entries indptr[b] .. indptr[b + 1] - 1.
        items: integers [N], the item of each entry, 1..I; an item that a user has twice counts twice.
        weights: float [N].
        row_indptr: int64 [I + 2], rows 0..I of a sparse matrix; row 0 is padding and not used.
        row_items: integers [M], 1..I, in any order.
        row_values: float32 or float64 [M].
        n_items: number of items I.
        num_threads: threads of the kernel, each with 8 bytes an item of its own.

    Returns:
        B rows of float32.

    Raises:
        ValueError: an argument doesn't fit the others.
    """
    n_items = whole_number("n_items", n_items, 1, MOST_ITEMS)
    chosen, others = _ids("items", items, n_items), _ids("row_items", row_items, n_items)
    starts, row_starts = as_offsets("indptr", indptr, len(chosen)), as_offsets("row_indptr", row_indptr, len(others))
    check_length("row_indptr", row_starts, n_items + 2, "item, the padding and the end")
    factors = np.ascontiguousarray(weights, dtype=np.float64)
    for name, numbers, expected in (("weights", factors, chosen), ("row_values", row_values, others)):
        if numbers.dtype not in (np.float32, np.float64) or numbers.shape != expected.shape:
            raise ValueError(f"{name} is {numbers.dtype} of shape {numbers.shape}; expected float32 or float64 of "
                             f"shape {expected.shape}, one for each item")
    threads = threads_for(len(starts) - 1, num_threads, _USERS_PER_THREAD)
    bits = np.zeros((threads, n_items // 64 + 1), dtype=np.uint64)
    counts = np.zeros(len(starts) - 1, dtype=np.int64)
    if len(counts):
        count_items(starts, chosen, row_starts, others, bits, counts, threads)
    ends = offsets(counts)
    found, sums = np.empty(ends[-1], dtype=np.int32), np.empty(ends[-1], dtype=np.float32)
    if len(found):
        add_rows(starts, chosen, factors, row_starts, others, np.ascontiguousarray(row_values), bits,
                 np.zeros((threads, n_items + 1)), ends, found, sums, threads)
    return SparseRows(ends, found, sums)


def _ids(name: str, values: ArrayLike, n_items: int) -> NDArray[np.int32]:
    """Return item ids as contiguous int32, copied only if necessary."""
    ids = np.asarray(values)
    if ids.dtype != np.int32 or ids.ndim != 1:
        ids = as_int64(name, ids)
    check_range(name, ids, 1, n_items)
    return np.ascontiguousarray(ids, dtype=np.int32)
