"""Scores of a part on one scale for every user, and their value for some items."""

from __future__ import annotations

import numpy as np

from ...data.csr import owners
from ...ranking.scores import Scores

_ENTRIES_AT_ONCE = 1 << 18


class Moments:
    """Means and products of an item table's columns, from which every user's mean and deviation follow."""

    def __init__(self, scores: Scores) -> None:
        """Take any block of a recommender's scores: its item table and bias are the same for all."""
        columns = scores.item_table[1:].astype(np.float64)
        bias = np.zeros(scores.n_items) if scores.bias is None else scores.bias[1:].astype(np.float64)
        columns = np.column_stack([columns, bias])  # [I, d + 1]
        self._mean, self._products = columns.mean(axis=0), columns.T @ columns / len(columns)

    def of(self, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the standard deviation of every user's scores over all items, float64 [B].

        A user whose scores are all the same has the deviation 1.
        """
        states = np.column_stack([scores.states.astype(np.float64), np.ones(len(scores))])
        mean = states @ self._mean
        square = np.einsum("bd,bd->b", states @ self._products, states)
        if scores.sparse is not None:
            rows, values = owners(np.diff(scores.sparse.indptr)), scores.sparse.values.astype(np.float64)
            dense = _dense_part(scores, rows, scores.sparse.items)
            mean += np.bincount(rows, values, len(scores)) / scores.n_items
            square += np.bincount(rows, values * (values + 2 * dense), len(scores)) / scores.n_items
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        return mean, np.where(deviation > 1e-6 * np.sqrt(square) + 1e-30, deviation, 1.0)


def values_at(scores: Scores, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the scores of pairs of a row, int64 [N], rising, and an item, int64 [N]: float64 [N]."""
    values = _dense_part(scores, rows, items)
    if scores.sparse is not None:
        width = scores.n_items + 1
        keys = owners(np.diff(scores.sparse.indptr)) * width + scores.sparse.items
        wanted = rows * width + items
        places = np.searchsorted(keys, wanted)
        found = places < len(keys)
        found[found] = keys[places[found]] == wanted[found]
        values[found] += scores.sparse.values[places[found]]
    return values


def _dense_part(scores: Scores, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    values = np.zeros(len(rows))
    if scores.states.shape[1]:
        for start in range(0, len(rows), _ENTRIES_AT_ONCE):
            part = slice(start, start + _ENTRIES_AT_ONCE)
            values[part] = np.einsum("nd,nd->n", scores.states[rows[part]], scores.item_table[items[part]])
    return values if scores.bias is None else values + scores.bias[items]
