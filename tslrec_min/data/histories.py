"""Histories of items, and targets to rank after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .csr import offsets, ranges
from .seen import SeenItems


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

    @property
    def lengths(self) -> np.ndarray:
        """Number of items of every user, int64 [U]."""
        return np.diff(self.indptr)

    def take(self, users: np.ndarray) -> Histories:
        """Return the histories of some users, int64 [B], in their order."""
        return self._pieces(self.indptr[users], self.lengths[users])

    def windows(self, starts: np.ndarray, counts: np.ndarray) -> Histories:
        """Return a window of every user's history.

        Args:
            starts: int64 [U], its first position, from 0.
            counts: int64 [U], its number of items.
        """
        return self._pieces(self.indptr[:-1] + starts, counts)

    def last(self, count: int) -> Histories:
        """Return every user's most recent `count` items."""
        counts = np.minimum(self.lengths, count)
        return self._pieces(self.indptr[1:] - counts, counts)

    def first(self, counts: np.ndarray) -> Histories:
        """Return the first ``counts[u]`` items of every user u, int64 [U]."""
        return self._pieces(self.indptr[:-1], counts)

    def _pieces(self, starts: np.ndarray, counts: np.ndarray) -> Histories:
        """Return slices of `items` as histories, given their starts and lengths, int64 [B]."""
        return Histories(offsets(counts), self.items[ranges(starts, counts)])


@dataclass(frozen=True)
class Evaluation:
    """Targets to rank."""

    histories: Histories
    """The histories of all users before the targets."""
    users: np.ndarray
    """int64 [E], the users with a target."""
    targets: np.ndarray
    """int64 [E], internal ids."""

    def seen(self, n_items: int) -> SeenItems:
        """Return the items of all histories; rankings leave them out by default."""
        return SeenItems.from_histories(self.histories.indptr, self.histories.items, n_items)
