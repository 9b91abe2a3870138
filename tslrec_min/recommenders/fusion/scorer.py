"""The sum of several recommenders' scores.

    s(u, i) = sum_p w_p(i) (s_p(u, i) - mean_p(u)) / deviation_p(u) + c log(1 + n_i),   w_p(i) = a_p + b_p log(1 + n_i)

n_i: occurrences of item i in training. Mean and deviation of part p for user u are over all items, so that parts on any
scale can be added up. The sum has the form of its parts: states, an item table, a bias and sparse rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.dataset import Histories
from ...errors import TslrecError
from ...ranking.scores import Scores
from ...ranking.sparse_rows import SparseRows
from ..scorer import ColdColumns, Scorer
from ..sparse_rows import weighted_row_sums
from .standardised import Standardised


@dataclass(frozen=True)
class Weights:
    """The numbers of a sum of P parts."""

    constant: np.ndarray
    """a, float64 [P]."""
    by_frequency: np.ndarray
    """b, float64 [P]."""
    frequency: float
    """c."""

    def of_items(self, occurrences: np.ndarray) -> np.ndarray:
        """Return w, float32 [P, n], of items with these numbers of training interactions, [n]."""
        weights = self.constant[:, None] + self.by_frequency[:, None] * np.log1p(occurrences)
        return weights.astype(np.float32)

    def bias(self, occurrences: np.ndarray) -> np.ndarray:
        """Return c log(1 + n), float32 [n]."""
        return (self.frequency * np.log1p(occurrences)).astype(np.float32)


class FusedScorer(Scorer):
    """A weighted sum of standardised scores."""

    def __init__(self, parts: Sequence[Scorer], weights: Weights, occurrences: np.ndarray, n_cold: int = 0) -> None:
        """Take the parts, their weights, the items' training interactions, int64 [I+1], and the number of cold items.

        A part that can't score cold items gives them its mean.

        Raises:
            TslrecError: the numbers of parts, weights or items differ.
        """
        self._parts = [(part, Standardised(part)) for part in parts]
        tables = [part.item_table for _, part in self._parts]
        sizes = sorted({len(occurrences), *map(len, tables)})
        if len(sizes) > 1 or len(parts) != len(weights.constant):
            raise TslrecError(f"{len(parts)} parts with {len(weights.constant)} weights, and item tables of {sizes} "
                              "rows; expected a weight for each part, and as many rows in all; run tslrec fuse again")
        self._weights, self._bias = weights.of_items(occurrences), weights.bias(occurrences)
        self._weights[:, 0] = self._bias[0] = 0
        self._table = _side_by_side(tables, self._weights)
        if n_cold and any(part.cold is not None for part in parts):
            never = np.zeros(n_cold)
            rows = [part.cold_rows(n_cold) for _, part in self._parts]
            self.cold = ColdColumns(_side_by_side(rows, weights.of_items(never)), weights.bias(never))

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score what follows every history."""
        states: list[np.ndarray] = []
        sparse: list[SparseRows] = []
        for (part, standardised), weight in zip(self._parts, self._weights, strict=True):
            scores = standardised.of(part.scores(histories, threads=threads))
            states.append(scores.states)
            if scores.sparse is not None:
                items = scores.sparse.items
                sparse.append(SparseRows(scores.sparse.indptr, items, scores.sparse.values * weight[items]))
        return Scores(np.concatenate(states, axis=1), self._table, self._bias,
                      _summed(sparse, len(self._bias) - 1, threads))


def _side_by_side(tables: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return tables, float32 [n, d_p] each, times the weights of their rows, float32 [P, n], as one, [n, sum of d]."""
    return np.concatenate([table * weight[:, None] for table, weight in zip(tables, weights, strict=True)], axis=1)


def _summed(parts: Sequence[SparseRows], n_items: int, threads: int) -> SparseRows | None:
    """Add up sparse matrices of B rows, float32."""
    if len(parts) < 2:
        return parts[0] if parts else None
    n_rows = len(parts[0])
    count = len(parts) * n_rows
    starts = np.cumsum([0, *(len(part.items) for part in parts)])
    indptr = np.concatenate([[0], *(part.indptr[:-1] + start for part, start in zip(parts, starts, strict=False)),
                             starts[-1:]])  # all rows in one matrix: row b of part p is row 1 + p B + b
    chosen = np.arange(count).reshape(len(parts), n_rows).T.reshape(-1) + 1
    size = max(n_items, count)
    return weighted_row_sums(
        np.arange(n_rows + 1) * len(parts), chosen, np.ones(count),
        np.append(indptr, np.full(size - count, starts[-1])), np.concatenate([part.items for part in parts]),
        np.concatenate([part.values for part in parts]), size, num_threads=threads)
