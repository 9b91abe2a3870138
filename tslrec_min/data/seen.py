"""The items that each user has seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.validation import Int64Array, as_int64, as_offsets, check_range, whole_number
from ._seen import fill_filter
from .csr import offsets, owners

MOST_ITEMS = 2**31 - 2  # ids are int32, and the kernels count up to I + 1
_FILTER_BITS = 16  # per seen item, before rounding up: at most one in 16 unseen items looks seen


@dataclass(frozen=True)
class SeenItems:
    """The items of every user's history, sorted and without repeats."""

    indptr: Int64Array
    """int64 [U + 1]: user u has ``items[indptr[u]:indptr[u + 1]]``."""
    items: NDArray[np.int32]
    """int32 [M], ids in 1..n_items."""
    n_items: int
    """Number of items I in the catalogue."""

    def __post_init__(self) -> None:
        """Check what the kernels rely on, and convert the arrays to their layout."""
        whole_number("n_items", self.n_items, 0, MOST_ITEMS)
        items = as_int64("items", self.items)
        check_range("items", items, 1, self.n_items)
        indptr = as_offsets("indptr", self.indptr, len(items))
        rises = np.diff(items, prepend=0) > 0
        rises[indptr[:-1][indptr[:-1] < len(items)]] = True  # the first of a row follows another user's
        if not rises.all():
            raise ValueError("the seen items of a user must rise without repeats; use SeenItems.from_histories")
        object.__setattr__(self, "indptr", indptr)
        object.__setattr__(self, "items", items.astype(np.int32))

    @classmethod
    def from_histories(cls, indptr: ArrayLike, items: ArrayLike, n_items: int) -> SeenItems:
        """Sort the items of each user and drop repeats.

        Args:
            indptr: int64 [U + 1], rows of the histories.
            items: integers [N], all histories, ids in 1..n_items.
            n_items: number of items I in the catalogue.
        """
        n_items = whole_number("n_items", n_items, 0, MOST_ITEMS)
        flat = as_int64("items", items)
        check_range("items", flat, 1, n_items)
        rows = as_offsets("indptr", indptr, len(flat))
        keys = np.unique(owners(np.diff(rows)) * (n_items + 1) + flat)  # one sort by user and item
        starts = np.searchsorted(keys, np.arange(len(rows)) * (n_items + 1))
        return cls(starts.astype(np.int64), (keys % (n_items + 1)).astype(np.int32), n_items)

    @cached_property
    def filter(self) -> tuple[Int64Array, NDArray[np.uint64]]:
        """Offsets int64 [U + 1] and words with one bit per item id modulo a power of two, set for seen items.

        It takes two to four bytes per seen item, at least eight and at most about I / 4 per user.
        """
        wanted = np.minimum(np.diff(self.indptr) * _FILTER_BITS, self.n_items + 1)
        words = 2 ** np.ceil(np.log2(np.maximum(wanted / 64, 1))).astype(np.int64)
        indptr = offsets(words)
        bits = np.zeros(max(1, indptr[-1]), dtype=np.uint64)
        fill_filter(self.indptr, self.items, indptr, bits)
        return indptr, bits
