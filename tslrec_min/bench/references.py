"""What the kernels are timed against: the same in plain NumPy and torch, without a loop over rows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np


def padded_batch(items: np.ndarray, starts: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write slices of `items` as rows padded with 0 on the right, by one gather.

    Args:
        items: int32 [N].
        starts: int64 [B], where the rows begin.
        lengths: int64 [B], at most T.
        out: int64 [B, T].

    Returns:
        `out`.
    """
    columns = np.arange(out.shape[1])
    places = np.minimum(starts[:, None] + columns, len(items) - 1)  # [B, T]
    np.multiply(items[places], columns < lengths[:, None], out=out)
    return out


def rejected_negatives(seen: np.ndarray, users: np.ndarray, cumulative: np.ndarray | None, n_negatives: int,
                       random: np.random.Generator) -> np.ndarray:
    """Draw unseen items, again and again until all are.

    Args:
        seen: bool [U, I + 1].
        users: int64 [N].
        cumulative: float64 [I + 1], cumulative probabilities of the items, entry 0 is 0; None: uniform.
        n_negatives: k.
        random: where the numbers come from.

    Returns:
        int64 [N, k].
    """
    def draw(count: int) -> np.ndarray:
        if cumulative is None:
            return random.integers(1, seen.shape[1], count)
        return np.searchsorted(cumulative, random.random(count), side="right")

    rows = np.repeat(users, n_negatives)
    drawn = draw(len(rows))
    bad = np.flatnonzero(seen[rows, drawn])
    while len(bad):
        drawn[bad] = draw(len(bad))
        bad = bad[seen[rows[bad], drawn[bad]]]
    return drawn.reshape(len(users), n_negatives)  # [N, k]


def read_histories(path: Path) -> dict[str, list[str]]:
    """Read user_id, item_id, timestamp by Python's csv module; return each user's items in the order of time."""
    found: dict[str, list[tuple[float, str]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["user_id"], []).append((float(row["timestamp"]), row["item_id"]))
    return {user: [item for _, item in sorted(rows, key=lambda row: row[0])] for user, rows in found.items()}
