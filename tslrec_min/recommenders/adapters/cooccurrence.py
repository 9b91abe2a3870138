"""Sums over items that are close to each other in training histories, for the adapters recpca and cca."""

from __future__ import annotations

import numpy as np
import torch

from ...data.csr import owners
from ...data.dataset import Histories


def neighbour_sums(rows: np.ndarray, training: Histories, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum the rows of each item's neighbours, A X, and return the degrees, A 1.

    A counts the pairs of different items at most `window` places apart in a history, in both orders. It is never whole
    in memory: pairs of one distance are counted at a time.

    Args:
        rows: X, float64 [I, D], of items 1 to I.
        training: training histories; no validation or test target may be in them.
        window: maximum distance of a pair, in items.

    Returns:
        A X, float64 [I, D], and A 1, int64 [I].
    """
    n_items = len(rows)
    owner = owners(training.lengths)
    items = training.items.astype(np.int64) - 1
    vectors = torch.from_numpy(rows)
    sums, degrees = torch.zeros_like(vectors), np.zeros(n_items, np.int64)
    for distance in range(1, min(window, len(items) - 1) + 1):
        first, second = items[:-distance], items[distance:]
        paired = (owner[:-distance] == owner[distance:]) & (first != second)
        if not paired.any():
            continue
        ends = np.stack([first[paired], second[paired]])
        both = torch.from_numpy(np.concatenate([ends, ends[::-1]], axis=1))
        counts = torch.sparse_coo_tensor(both, torch.ones(both.shape[1], dtype=torch.float64), (n_items, n_items),
                                         check_invariants=True)
        sums += torch.sparse.mm(counts.coalesce(), vectors)
        degrees += np.bincount(both[0].numpy(), minlength=n_items)
    return sums.numpy(), degrees
