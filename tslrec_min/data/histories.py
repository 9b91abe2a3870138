"""Histories of items, and targets to rank after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .seen import SeenItems


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Return CSR offsets, int64 [U+1], of rows of these lengths, [U]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@dataclass(frozen=True)
class Histories:
    """Item histories of all users in time order (CSR)."""

    indptr: np.ndarray
    """int64 [U+1]: user u's items are ``items[indptr[u]:indptr[u+1]]``."""
    items: np.ndarray
    """int32 [N], internal ids 1..I."""

    def __len__(self) -> int:
        """Return the number of users U."""
        return len(self.indptr) - 1

    def of(self, user: int) -> np.ndarray:
        """Return the items of one user, int32 [n]."""
        return self.items[self.indptr[user]:self.indptr[user + 1]]

    def last(self, count: int) -> Histories:
        """Return every user's most recent `count` items."""
        lengths = np.minimum(np.diff(self.indptr), count)
        from_end = np.repeat(self.indptr[1:], np.diff(self.indptr)) - np.arange(len(self.items))
        indptr = offsets(lengths)
        return Histories(indptr, self.items[from_end <= count])

    def first(self, counts: np.ndarray) -> Histories:
        """Return the first ``counts[u]`` items of every user u, who has at least as many."""
        indptr = offsets(counts)
        position = np.arange(len(self.items)) - np.repeat(self.indptr[:-1], np.diff(self.indptr))
        return Histories(indptr, self.items[position < np.repeat(counts, np.diff(self.indptr))])

    def without_last(self, counts: np.ndarray) -> Histories:
        """Return the histories without the last ``counts[u]`` items of every user u."""
        return self.first(np.diff(self.indptr) - counts)


@dataclass(frozen=True)
class Evaluation:
    """Targets to rank."""

    histories: Histories
    """What is known of all users when the target is asked for."""
    users: np.ndarray
    """int64 [E], the users with a target."""
    targets: np.ndarray
    """int64 [E], internal ids."""

    def seen(self, n_items: int) -> SeenItems:
        """Return the items of all histories: what a ranking leaves out unless they are to be recommended again."""
        return SeenItems.from_histories(self.histories.indptr, self.histories.items, n_items)
