"""A recommender's scores on a scale that all recommenders share, and the scores of some items."""

from __future__ import annotations

import numpy as np

from ...data.csr import owners
from ...data.dataset import Histories
from ...ranking.scores import Scores
from ...ranking.sparse_rows import SparseRows
from ..scorer import ColdColumns, Scorer

_ENTRIES_AT_ONCE = 1 << 18
_ROUNDING = 1e-6
"""Of the size of a user's scores: deviations up to it are rounding errors of float32."""


class Standardised:
    """The scores of a recommender, with mean 0 and standard deviation 1 over all items, for every user.

    A user whose scores are all the same gets 0 for all items.
    """

    def __init__(self, scorer: Scorer) -> None:
        """Score no history, which shows the parts that all histories share: the item table and the bias."""
        shared = scorer.scores(Histories(np.zeros(1, np.int64), np.zeros(0, np.int32)))
        bias = np.zeros(shared.n_items + 1) if shared.bias is None else shared.bias
        columns = np.column_stack([shared.item_table, bias]).astype(np.float64)[1:]  # [I, d + 1]
        self._mean = columns.mean(axis=0)
        columns -= self._mean
        self._covariance = columns.T @ columns / len(columns)
        self.item_table = _with_ones(np.concatenate([np.zeros_like(columns[:1]), columns]))
        """float32 [I+1, d+2]: the item table and the bias, less their means, and a column of ones."""
        self._cold = scorer.cold

    def of(self, scores: Scores) -> Scores:
        """Standardise scores of the recommender.

        The variance of a user's scores is that of the dense part, x C x' for the state x and the covariance C of the
        columns, plus that of the sparse part, plus twice the covariance of the two parts.
        """
        states = np.column_stack([scores.states.astype(np.float64), np.ones(len(scores))])
        variance = np.einsum("bd,bd->b", states @ self._covariance, states)
        sparse, sparse_mean = scores.sparse, np.zeros(len(scores))
        if sparse is not None:
            rows, values = owners(np.diff(sparse.indptr)), sparse.values.astype(np.float64)
            dense = dense_values(Scores(states.astype(np.float32), self.item_table[:, :-1]), rows, sparse.items)
            sparse_mean = np.bincount(rows, values, len(scores)) / scores.n_items
            variance += np.bincount(rows, values * (values + 2 * dense), len(scores)) / scores.n_items - sparse_mean**2
        deviation = np.sqrt(np.maximum(variance, 0))
        size = np.abs(states @ self._mean + sparse_mean) + deviation
        known = deviation > _ROUNDING * size
        scale = np.where(known, 1 / np.where(known, deviation, 1), 0.0)
        states = np.column_stack([states, -sparse_mean]) * scale[:, None]
        if sparse is not None:
            sparse = SparseRows(sparse.indptr, sparse.items, (values * scale[rows]).astype(np.float32))
        return Scores(states.astype(np.float32), self.item_table, None, sparse)

    def cold_rows(self, n_cold: int) -> np.ndarray:
        """Return the rows of C cold items, float32 [C, d+2]; the mean, 0, if the recommender can't score them."""
        if self._cold is None:
            return np.zeros((n_cold, self.item_table.shape[1]), np.float32)
        return _with_ones(_columns(self._cold) - self._mean)


def _columns(cold: ColdColumns) -> np.ndarray:
    bias = np.zeros(len(cold.rows)) if cold.bias is None else cold.bias
    return np.column_stack([cold.rows, bias]).astype(np.float64)


def _with_ones(columns: np.ndarray) -> np.ndarray:
    return np.column_stack([columns, np.ones(len(columns))]).astype(np.float32)


def values_at(scores: Scores, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the scores of pairs of a row and an item, float64 [N].

    Args:
        scores: of all rows.
        rows: int64 [N].
        items: int64 [N].
    """
    values = dense_values(scores, rows, items)
    if scores.sparse is not None:
        width = scores.n_items + 1
        keys = owners(np.diff(scores.sparse.indptr)) * width + scores.sparse.items
        wanted = rows * width + items
        places = np.searchsorted(keys, wanted)
        found = places < len(keys)
        found[found] = keys[places[found]] == wanted[found]
        values[found] += scores.sparse.values[places[found]]
    return values


def dense_values(scores: Scores, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the scores of pairs without the sparse part, float64 [N]; arguments are as for `values_at`."""
    values = np.zeros(len(rows))
    if scores.states.shape[1]:
        for start in range(0, len(rows), _ENTRIES_AT_ONCE):
            part = slice(start, start + _ENTRIES_AT_ONCE)
            values[part] = np.einsum("nd,nd->n", scores.states[rows[part]], scores.item_table[items[part]])
    return values if scores.bias is None else values + scores.bias[items]
