"""Numbers for a few items of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.seen import MOST_ITEMS
from ..runtime.validation import Int64Array, as_offsets, check_length, check_range


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A sparse matrix by rows (CSR), such as the scores that a recommender gives to a few items of each user."""

    indptr: Int64Array
    """int64 [B + 1]: row b has ``items[indptr[b]:indptr[b + 1]]``."""
    items: NDArray[np.int32]
    """int32 [M], ids from 1 on, rising without repeats in each row."""
    values: NDArray[Any]
    """float32 or float64 [M]."""

    def __post_init__(self) -> None:
        """Check what the kernels rely on, and convert the arrays to their layout."""
        items, values = np.asarray(self.items), np.asarray(self.values)
        if items.ndim != 1 or (items.size and items.dtype.kind not in "iu"):
            raise ValueError(f"items is {items.dtype} of shape {items.shape}; expected integers of one dimension")
        if values.ndim != 1 or values.dtype not in (np.float32, np.float64):
            raise ValueError(f"values is {values.dtype} of shape {values.shape}; expected float32 or float64 of one "
                             "dimension")
        check_length("values", values, len(items), "item")
        check_range("items", items, 1, MOST_ITEMS)
        indptr = as_offsets("indptr", self.indptr, len(items))
        rises = np.ones(len(items), dtype=bool)
        np.greater(items[1:], items[:-1], out=rises[1:])
        rises[indptr[:-1][indptr[:-1] < len(items)]] = True  # the first of a row follows another row's
        if not rises.all():
            raise ValueError(f"items[{int(np.argmin(rises))}] is not above the one before it; expected the items of a "
                             "row to rise without repeats")
        object.__setattr__(self, "indptr", indptr)
        object.__setattr__(self, "items", np.ascontiguousarray(items, dtype=np.int32))
        object.__setattr__(self, "values", np.ascontiguousarray(values))

    @property
    def last_items(self) -> NDArray[np.int32]:
        """The largest item of each row that isn't empty, int32."""
        ends = self.indptr[1:]
        return self.items[ends[ends > self.indptr[:-1]] - 1]

    def __len__(self) -> int:
        """Return the number of rows B."""
        return len(self.indptr) - 1

    def take(self, rows: slice) -> SparseRows:
        """Return consecutive rows."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"the slice has step {step}; expected consecutive rows, step 1")
        indptr = self.indptr[start:max(start, stop) + 1]
        entries = slice(indptr[0], indptr[-1])
        return SparseRows(indptr - indptr[0], self.items[entries], self.values[entries])
