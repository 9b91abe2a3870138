"""One form for the scores of every recommender, which are never stored whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.seen import SeenItems
from ..runtime.validation import Int64Array
from .ranks import Ranks, rank_targets, top_k
from .sparse_rows import SparseRows

__all__ = ["Scores", "SparseRows"]


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of row b and item i is ``states[b] @ item_table[i] + bias[i] + sparse[b, i]``.

    A recommender of vectors has the first part, most popular has a bias, and one that counts neighbours has sparse
    rows. Parts that it lacks are left out; the first then has the width d = 0.
    """

    states: NDArray[Any]
    """float32 or float64 [B, d]; all other parts have this dtype."""
    item_table: NDArray[Any]
    """[I + 1, d], row 0 is padding."""
    bias: NDArray[Any] | None = None
    """[I + 1], entry 0 is padding; None: 0 for every item."""
    sparse: SparseRows | None = None
    """B rows; items that a row doesn't have count as 0."""

    @classmethod
    def without_vectors(cls, n_rows: int, n_items: int, bias: NDArray[Any] | None = None,
                        sparse: SparseRows | None = None) -> Scores:
        """Return the scores of a recommender without vectors: its width d is 0.

        Args:
            n_rows: B.
            n_items: I.
            bias: float32 [I + 1], entry 0 is padding; None: 0 for every item.
            sparse: B rows of float32; None: none.
        """
        return cls(np.zeros((n_rows, 0), np.float32), np.zeros((n_items + 1, 0), np.float32), bias, sparse)

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return len(self.item_table) - 1

    def __len__(self) -> int:
        """Return the number of rows B."""
        return len(self.states)

    def take(self, rows: slice) -> Scores:
        """Return the scores of consecutive rows."""
        return Scores(self.states[rows], self.item_table, self.bias, self.sparse and self.sparse.take(rows))

    def rank(self, targets: ArrayLike, seen: SeenItems | None, *, users: ArrayLike | None = None,
             num_threads: int = 1) -> Ranks:
        """Rank each target among all items that its user hasn't seen; arguments are as for `rank_targets`."""
        return rank_targets(self.states, self.item_table, targets, seen, bias=self.bias, sparse=self.sparse,
                            users=users, num_threads=num_threads)

    def top_k(self, k: int, seen: SeenItems | None, *, users: ArrayLike | None = None,
              num_threads: int = 1) -> tuple[Int64Array, NDArray[Any]]:
        """Find the k items with the highest scores that each user hasn't seen; arguments are as for `ranks.top_k`."""
        return top_k(self.states, self.item_table, k, seen, bias=self.bias, sparse=self.sparse, users=users,
                     num_threads=num_threads)
