"""The sum of several recommenders' scores.

    s(u, i) = sum_p w_p(i) (s_p(u, i) - mean_p(u)) / deviation_p(u) + c log(1 + n_i),   w_p(i) = a_p + b_p log(1 + n_i)

n_i: occurrences of item i in training. Mean and deviation of part p for user u are over all items, so that parts on any
scale can be added up. The sum has the form of its parts: states, an item table, a bias and sparse rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.csr import offsets, owners
from ...data.dataset import Histories
from ...ranking.scores import Scores
from ...ranking.sparse_rows import SparseRows
from ..scorer import ColdColumns, Scorer
from .standardised import Moments


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
        """
        self.parts, self._weights, self._moments = list(parts), weights, list[Moments]()
        self._of_items = weights.of_items(occurrences)
        self._of_items[:, 0] = 0
        self._bias = weights.bias(occurrences)
        self._bias[0] = 0
        self._n_cold = n_cold

    @property
    def cold(self) -> ColdColumns | None:  # type: ignore[override] # derived from the parts'
        """The columns of cold items: those of the parts that have any."""
        if not self._n_cold or all(part.cold is None for part in self.parts):
            return None
        weights = self._weights.of_items(np.zeros(self._n_cold))
        blocks = []
        for part, weight, width in zip(self.parts, weights, self._widths, strict=True):
            columns = np.zeros((self._n_cold, width), np.float32)
            if part.cold is not None:
                bias = np.zeros(self._n_cold, np.float32) if part.cold.bias is None else part.cold.bias
                columns = np.column_stack([part.cold.rows, bias, np.ones_like(bias)]) * weight[:, None]
            blocks.append(columns)
        return ColdColumns(np.concatenate(blocks, axis=1), self._weights.bias(np.zeros(self._n_cold)))

    @property
    def _widths(self) -> list[int]:
        empty = Histories(np.zeros(1, np.int64), np.zeros(0, np.int32))
        return [part.scores(empty).item_table.shape[1] + 2 for part in self.parts]

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score what follows every history."""
        scored = [part.scores(histories, threads=threads) for part in self.parts]
        self._moments = self._moments or [Moments(scores) for scores in scored]
        states, columns, sparse = [], [], []
        for scores, moments, weight in zip(scored, self._moments, self._of_items, strict=True):
            mean, deviation = moments.of(scores)
            scale = (1 / deviation).astype(np.float32)
            bias = np.zeros(scores.n_items + 1, np.float32) if scores.bias is None else scores.bias
            states.append(np.column_stack([scores.states * scale[:, None], scale, -(mean / deviation)]))
            columns.append(np.column_stack([scores.item_table, bias, np.ones_like(bias)]) * weight[:, None])
            if scores.sparse is not None:
                rows = owners(np.diff(scores.sparse.indptr))
                values = scores.sparse.values * scale[rows] * weight[scores.sparse.items]
                sparse.append((rows, scores.sparse.items, values))
        return Scores(np.concatenate(states, axis=1, dtype=np.float32), np.concatenate(columns, axis=1), self._bias,
                      _summed(sparse, len(histories), len(self._bias)))


def _summed(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], n_rows: int, width: int) -> SparseRows | None:
    """Add up sparse matrices, given the rows, items and values of their entries; rows and items rise in each."""
    if not parts:
        return None
    rows, items, values = parts[0]
    if len(parts) > 1:
        keys, place = np.unique(np.concatenate([own * width + ids for own, ids, _ in parts]), return_inverse=True)
        values = np.bincount(place.reshape(-1), np.concatenate([own for *_, own in parts]), len(keys))
        rows, items = np.divmod(keys, width)
    return SparseRows(offsets(np.bincount(rows, minlength=n_rows)), items.astype(np.int32), values.astype(np.float32))
