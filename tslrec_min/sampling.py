"""The items that each user has seen, and random negatives among the others.

A draw is a pure function of (seed, epoch, position, column): the same for any number of threads, batch size and
order of the batch. Sources of the generator and of the draw in a range: csrc/_random.pxd.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._sampling import draw_unseen
from .checks import Int64Array, as_int64, as_offsets, check_length, check_range, whole_number

_LARGEST_WORD = 2**64 - 1
_MOST_ITEMS = 2**31 - 2  # ids are int32, and the kernels count up to I + 1


@dataclass(frozen=True)
class SeenItems:
    """For each user the items of the history, sorted and without repeats."""

    indptr: Int64Array
    """int64 [U + 1]: user u has ``items[indptr[u]:indptr[u + 1]]``."""
    items: NDArray[np.int32]
    """int32 [M], ids in 1..n_items."""
    n_items: int
    """Number of items I in the catalogue."""

    def __post_init__(self) -> None:
        """Check what the kernels rely on, and hold the arrays in the layout that they take."""
        whole_number("n_items", self.n_items, 0, _MOST_ITEMS)
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
        n_items = whole_number("n_items", n_items, 0, _MOST_ITEMS)
        flat = as_int64("items", items)
        check_range("items", flat, 1, n_items)
        rows = as_offsets("indptr", indptr, len(flat))
        users = np.repeat(np.arange(len(rows) - 1), np.diff(rows))
        keys = np.unique(users * (n_items + 1) + flat)  # one sort by user and item
        starts = np.searchsorted(keys, np.arange(len(rows)) * (n_items + 1))
        return cls(starts.astype(np.int64), (keys % (n_items + 1)).astype(np.int32), n_items)

    def counts(self, users: Int64Array) -> Int64Array:
        """Return how many items each of `users`, int64 [N], has seen."""
        return self.indptr[users + 1] - self.indptr[users]


def uniform_negatives(seen: SeenItems, users: ArrayLike, positions: ArrayLike, n_negatives: int, *, seed: int,
                      epoch: int, num_threads: int = 1) -> Int64Array:
    """Draw items that a user hasn't seen, each with the same probability, exactly, and independently.

    Args:
        seen: every user's items.
        users: int64 [N], whose negatives.
        positions: int64 [N], what a row's draws are keyed by, for example the offset of its target in the flat
            item array; rows of equal position and user get equal draws.
        n_negatives: number k of draws per row; they may repeat.
        seed: in 0..2**64 - 1.
        epoch: in 0..2**64 - 1.
        num_threads: threads of the kernel; the result does not depend on it.

    Returns:
        int64 [N, k].

    Raises:
        ValueError: a user has seen every item.
    """
    chosen, keys = as_int64("users", users), as_int64("positions", positions)
    check_range("users", chosen, 0, len(seen.indptr) - 2)
    check_length("positions", keys, len(chosen), "entry of users")
    full = chosen[seen.counts(chosen) == seen.n_items]
    if full.size:
        raise ValueError(f"user {full[0]} has seen all {seen.n_items} items, so there is no negative to draw; "
                         "leave such users out")
    out = np.empty((len(chosen), whole_number("n_negatives", n_negatives, 1)), dtype=np.int64)
    draw_unseen(seen.indptr, seen.items, seen.n_items, chosen, keys, whole_number("seed", seed, 0, _LARGEST_WORD),
                whole_number("epoch", epoch, 0, _LARGEST_WORD), out, whole_number("num_threads", num_threads, 1))
    return out
