"""What several test files build or ask alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tslrec_min.data.dataset import Evaluation, Histories
from tslrec_min.ranking.scores import Scores
from tslrec_min.ranking.sparse_rows import SparseRows
from tslrec_min.recommenders.counting.base import Knowledge
from tslrec_min.recommenders.scorer import ColdColumns, Scorer

PARTS = ("dense", "bias", "sparse")


def histories_of(rows: Sequence[Sequence[int]]) -> Histories:
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Histories(indptr, np.array([item for row in rows for item in row], dtype=np.int32))


def known_from(rows: Sequence[Sequence[int]], n_items: int, n_cold: int = 0, **more: object) -> Knowledge:
    """Knowledge of training histories; the target of each user is the last item, after the others."""
    asked = histories_of([row[:-1] for row in rows])
    targets = np.array([row[-1] for row in rows], dtype=np.int64)
    return Knowledge(**{"training": histories_of(rows), "n_items": n_items, "n_cold": n_cold, "embeddings": None,
                        "validation": Evaluation(asked, np.arange(len(rows)), targets), "threads": 1} | more)


def dense_rows(rows: SparseRows, width: int) -> np.ndarray:
    """Return sparse rows as float64 [B, width]."""
    matrix = np.zeros((len(rows), width))
    matrix[np.repeat(np.arange(len(rows)), np.diff(rows.indptr)), rows.items] = rows.values
    return matrix


def all_scores(scores: Scores) -> np.ndarray:
    """Return the scores of all items, float64 [B, I], from the definition."""
    found = scores.states.astype(np.float64) @ scores.item_table.astype(np.float64).T
    found += 0 if scores.bias is None else scores.bias
    found += 0 if scores.sparse is None else dense_rows(scores.sparse, scores.n_items + 1)
    return found[:, 1:]


class LastItem(Scorer):
    """Random scores by the last item of a history, made of the `parts` named; a user without items has none."""

    def __init__(self, n_items: int, seed: int, parts: Sequence[str] = PARTS, *, size: float = 1.0, shift: float = 0.0,
                 n_cold: int = 0) -> None:
        """Make random parts; all but the sparse one are `size` times and `shift` more than numbers around 0."""
        random = np.random.default_rng(seed)
        self.width = 4 if "dense" in parts else 0
        table = (random.normal(size=(n_items + 1, self.width)) + shift) * size
        self.table, self.states = table.astype(np.float32), random.normal(size=table.shape).astype(np.float32)
        self.bias = ((random.normal(size=n_items + 1) + shift) * size).astype(np.float32) if "bias" in parts else None
        self.rows = random.normal(size=(n_items + 1, n_items + 1)) * (random.random((n_items + 1, n_items + 1)) < 0.3)
        self.rows[0] = self.rows[:, 0] = 0
        self.sparse = "sparse" in parts
        if n_cold:
            self.cold = ColdColumns(random.normal(size=(n_cold, self.width)).astype(np.float32) * np.float32(size))

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        last = np.array([row[-1] if len(row := histories.of(user)) else 0 for user in range(len(histories))], int)
        sparse = None
        if self.sparse:
            row, item = np.nonzero(self.rows[last]) if len(last) else (last, last)
            sparse = SparseRows(np.cumsum([0, *np.bincount(row, minlength=len(last))]).astype(np.int64),
                                item.astype(np.int32), self.rows[last][row, item].astype(np.float32))
        states = np.where(last[:, None] > 0, self.states[last], 0).astype(np.float32)
        return Scores(states, self.table, self.bias, sparse)
