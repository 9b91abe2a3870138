"""User coresets: few users whose prompts together show every item and every latent category.

With m_j(S) the mass of feature j in the chosen users S (an item's share of a user's prompt, a category's share of a
user's preferences: every user brings the mass 1 of each kind, so that long histories are not worth more than short
ones) and w_j its mean mass over all users,

    F(S) = sum_j w_j log(1 + m_j(S) / e).

With a small e, features that no chosen user covers yet gain most. Beyond that, the mixtures of items and of categories
approach those of all users: sum_j w_j log m_j is, up to a constant, minus |S| times the Kullback-Leibler divergence of
m / |S| from w, and is largest where m is proportional to w.

F is monotone and submodular. Taking the best user again and again gives at least 1 - 1/e of the best possible F
(Nemhauser, Wolsey and Fisher, 1978); taking any user within the share t of the best, as here, at least 1 - 1/e - t
(decreasing thresholds: Badanidiyuru and Vondrak, SODA 2014). Gains only fall as S grows, so an old gain is an upper
bound, and most users need no second look under a threshold (lazy evaluation: Minoux, 1978).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.csr import offsets, owners, ranges
from ..data.dataset import Histories

TOLERANCE = 0.1
"""t: every user chosen gains at least 1 - t times the gain of the best one."""
_FLOOR = 0.001
"""e of the formula, in users: the smaller, the more the first user with an item counts compared with later ones."""
_BLOCK = 512
"""Users evaluated at once."""
_STEPS = 20
"""The last users chosen are replaced in steps of this fraction (1/20) of all to complete the coverage."""
_NOBODY = np.empty(0, np.int64)


@dataclass(frozen=True)
class Features:
    """What every user covers, as a sparse matrix of masses (CSR); columns are items, then categories."""

    indptr: np.ndarray
    """int64 [C+1]."""
    columns: np.ndarray
    """int64 [N], different ones in each row."""
    masses: np.ndarray
    """float64 [N], above 0."""
    weights: np.ndarray
    """float64 [J], w_j of every column: its mean mass."""

    def __len__(self) -> int:
        """Return the number of users C."""
        return len(self.indptr) - 1

    def entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the entries of rows, int64 [n], are in `columns` and `masses`, and where each row's start."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        return ranges(self.indptr[rows], lengths), offsets(lengths)[:-1]


def user_features(shown: Histories, preferences: np.ndarray, users: np.ndarray) -> Features:
    """Return what users cover: the items of their prompts and the latent categories that they prefer.

    Args:
        shown: the items of every user's prompt.
        preferences: float32 [U, K], rows sum to 1.
        users: int64 [C], the candidates; each has at least one item.
    """
    n_items = int(shown.items.max(initial=0)) + 1
    own = shown.take(users)
    pairs, counts = np.unique(owners(own.lengths) * n_items + own.items, return_counts=True)  # an item may come twice
    rows, columns = np.divmod(pairs, n_items)
    category_rows, categories = np.nonzero(preferences[users])
    all_rows = np.concatenate([rows, category_rows])
    order = np.argsort(all_rows, kind="stable")
    masses = np.concatenate([counts / own.lengths[rows], preferences[users[category_rows], categories]])[order]
    columns = np.concatenate([columns, n_items + categories])[order]
    indptr = offsets(np.bincount(all_rows, minlength=len(users)))
    weights = np.bincount(columns, masses, n_items + preferences.shape[1]) / len(users)
    return Features(indptr, columns, masses, weights)


def choose(features: Features, count: int) -> np.ndarray:
    """Choose `count` users greedily, at most C; ties go to the lower row.

    The formula alone leaves out a few items that very few users have. So, if anything is not covered, the last users
    chosen are replaced by users who cover it, up to half of all.

    Returns:
        Row numbers in the order of choice, int64 [count].
    """
    if not 0 <= count <= len(features):
        raise ValueError(f"count is {count}; expected 0 to the number of users, {len(features)}")
    chosen = _greedy(features, count)
    kept = count
    while kept >= count - count // 2:
        completing = _completing(features, chosen[:kept], count - kept)
        if completing is not None:
            # If fewer users complete the coverage than were replaced, the formula chooses the rest.
            return _greedy(features, count, np.concatenate([chosen[:kept], completing]))
        kept -= max(1, count // _STEPS)
    return chosen


def _greedy(features: Features, count: int, chosen: np.ndarray = _NOBODY) -> np.ndarray:
    """Return `chosen`, and users added to them until there are `count`."""
    places, _ = features.entries(chosen)
    covered = _FLOOR + np.bincount(features.columns[places], features.masses[places], len(features.weights))  # m_j + e
    bounds = np.concatenate([_gains(features, np.arange(start, min(start + _BLOCK, len(features))), covered)
                             for start in range(0, len(features), _BLOCK)])
    bounds[chosen] = -np.inf
    parts, left = [chosen], count - len(chosen)
    threshold = np.inf
    while left:
        threshold = min(threshold, bounds.max()) * (1 - TOLERANCE)
        candidates = np.flatnonzero(bounds >= threshold)
        for start in range(0, len(candidates), _BLOCK):
            rows = candidates[start:start + _BLOCK]
            while left and len(rows):
                bounds[rows] = _gains(features, rows, covered)
                rows = rows[bounds[rows] >= threshold]
                taken = rows[_gains(features, rows, covered, in_turn=True) >= threshold][:left]
                places, _ = features.entries(taken)
                np.add.at(covered, features.columns[places], features.masses[places])
                bounds[taken] = -np.inf
                rows = rows[bounds[rows] >= threshold]
                parts.append(taken)
                left -= len(taken)
    return np.concatenate(parts)


def _completing(features: Features, chosen: np.ndarray, limit: int) -> np.ndarray | None:
    """Return at most `limit` users who cover all that `chosen` don't, or None if greedy choice finds no such set."""
    missing = features.weights > 0
    missing[features.columns[features.entries(chosen)[0]]] = False
    if not missing.any():
        return _NOBODY
    useful = missing[features.columns]
    users = owners(np.diff(features.indptr))[useful]
    rows, starts = np.unique(users, return_index=True)
    columns = features.columns[useful]
    of_missing = Features(np.append(starts, len(users)), columns, np.ones(len(users)), missing.astype(float))
    order = _greedy(of_missing, min(limit, len(rows)))
    for place, row in enumerate(order):
        missing[of_missing.columns[of_missing.indptr[row]:of_missing.indptr[row + 1]]] = False
        if not missing.any():
            return rows[order[:place + 1]]
    return None


def _gains(features: Features, rows: np.ndarray, covered: np.ndarray, *, in_turn: bool = False) -> np.ndarray:
    """Return what each row would add to F if it came next, float64 [n]; `in_turn`: after all rows before it, which is
    at most what it adds after some of them. `covered`: m_j + e, float64 [J].
    """
    if not len(rows):
        return np.empty(0)
    places, starts = features.entries(rows)
    columns, masses = features.columns[places], features.masses[places]
    present = covered[columns]
    if in_turn:
        order = np.argsort(columns, kind="stable")
        before = np.cumsum(masses[order]) - masses[order]
        first = np.flatnonzero(np.diff(columns[order], prepend=-1))
        before -= np.repeat(before[first], np.diff(first, append=len(order)))
        present[order] += np.maximum(before, 0)
    return np.add.reduceat(features.weights[columns] * np.log1p(masses / present), starts)
