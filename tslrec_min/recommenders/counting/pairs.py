"""Counts of pairs of items in histories."""

from __future__ import annotations

import numpy as np

from ...data.csr import offsets, owners
from ...data.dataset import Histories
from ...ranking.sparse_rows import SparseRows

_PAIRS_AT_ONCE = 1 << 24


def transition_counts(training: Histories, n_items: int, places: int, distance_exponent: float) -> SparseRows:
    """Count how often an item follows another one.

    Args:
        training: the histories to count in.
        n_items: number of items I.
        places: maximum distance of the two items in a history; 1: only the next item.
        distance_exponent: a pair d places apart counts d^-distance_exponent.

    Returns:
        float64 [I+1, I+1]: row j has the items that follow item j; an item can follow itself.
    """
    items, rows = training.items.astype(np.int64), owners(training.lengths)
    positions_of = np.argsort(items, kind="stable")  # grouped by the item before
    first = np.searchsorted(items[positions_of], np.arange(n_items + 2))
    keys, sums = [], []
    item = 0
    while item <= n_items:  # a range of items at a time bounds the memory
        stop = max(item + 1, int(np.searchsorted(first, first[item] + _PAIRS_AT_ONCE // places, "right")) - 1)
        positions = positions_of[first[item]:first[stop]]
        found, weights = [], []
        for distance in range(1, places + 1):
            near = positions[positions + distance < len(items)]
            near = near[rows[near] == rows[near + distance]]
            found.append(items[near] * (n_items + 1) + items[near + distance])
            weights.append(np.full(len(near), float(distance) ** -distance_exponent))
        own, place = np.unique(np.concatenate(found), return_inverse=True)
        keys.append(own)
        sums.append(np.bincount(place.reshape(-1), np.concatenate(weights), len(own)))
        item = stop
    return _matrix(np.concatenate(keys), np.concatenate(sums), n_items)


def _matrix(keys: np.ndarray, values: np.ndarray, n_items: int) -> SparseRows:
    """Return a matrix [I+1, I+1] given the rising keys (row * (I+1) + column), int64 [M], of its entries."""
    lengths = np.bincount(keys // (n_items + 1), minlength=n_items + 1)
    return SparseRows(offsets(lengths), (keys % (n_items + 1)).astype(np.int32), values.astype(np.float64))
