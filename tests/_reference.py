"""Plain twins of the kernels and metrics: slow, short, and written from the definitions."""

from __future__ import annotations

import numpy as np


def left_pad(items, starts, stops, max_len):
    rows = [[0] * max_len + list(items[start:stop]) for start, stop in zip(starts, stops, strict=True)]
    return np.array([row[len(row) - max_len:] for row in rows], dtype=np.int64).reshape(len(rows), max_len)


def window_targets(indptr, max_len, phases):
    """Return the target offsets of each window, users and time in order, by walking back from the row's end."""
    windows = []
    for start, stop, phase in zip(indptr[:-1], indptr[1:], phases, strict=True):
        targets, size, of_user = list(range(start + 1, stop)), max_len - phase, []
        while targets:
            of_user.insert(0, targets[-size:])
            targets, size = targets[:-size], max_len
        windows += of_user
    return windows


def counts(scores, targets, seen_sets):
    """Return greater, equal, n_candidates, each int64 [B]."""
    rows = []
    for row, target, seen in zip(np.asarray(scores), targets, seen_sets, strict=True):
        others = [item for item in range(1, len(row)) if item != target and item not in seen]
        rows.append((np.sum(row[others] > row[target]), np.sum(row[others] == row[target]), len(others) + 1))
    return np.array(rows, dtype=np.int64).reshape(-1, 3).T


def best(scores, k, seen_sets):
    """Return each user's k best unseen items, int64 [B, k], and their scores: highest first, ties by smaller id."""
    items, values = np.zeros((len(scores), k), dtype=np.int64), np.full((len(scores), k), -np.inf, dtype=scores.dtype)
    for b, (row, seen) in enumerate(zip(scores, seen_sets, strict=True)):
        found = sorted((-row[item], item) for item in range(1, len(row)) if item not in seen)[:k]
        for place, (negative, item) in enumerate(found):
            items[b, place], values[b, place] = item, -negative
    return items, values


def metric(name, greater, equal):
    """Average one user's metric over every place that a tied target can have."""
    kind, _, k = name.partition("@")
    values = []
    for place in range(greater + 1, greater + equal + 2):
        value = {"hr": 1.0, "ndcg": 1 / np.log2(place + 1), "mrr": 1 / place}[kind]
        values.append(value if not k or place <= int(k) else 0.0)
    return sum(values) / len(values)
