"""``popularity``: every user gets the items that occur most in the training histories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

from ...data.dataset import Histories
from ...ranking.scores import Scores
from ..scorer import ColdColumns
from .base import CountingScorer, Knowledge
from .search import Constants, chosen_constants


class Popularity(CountingScorer):
    """The score is the number of occurrences in training; without constants."""

    def __init__(self, counts: np.ndarray, n_cold: int) -> None:
        self.bias = counts.astype(np.float32)  # [I+1]
        self.cold = ColdColumns(np.zeros((n_cold, 0), np.float32)) if n_cold else None
        self.constants = {}

    @classmethod
    def fit(cls, known: Knowledge) -> Self:
        """Count; the validation targets only give the figure."""
        fitted = cls(known.counts, known.n_cold)

        def scores(_: Constants, histories: Histories) -> Scores:
            return fitted.scores(histories)

        _, fitted.validation_score = chosen_constants({}, {}, scores, known.validation, known.n_items, known.threads)
        return fitted

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the counts, and the number of cold items."""
        return {"bias": self.bias, "n_cold": np.array(len(self.cold.rows) if self.cold else 0)}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], constants: Mapping[str, float]) -> Self:
        """Rebuild from `arrays`."""
        return cls(arrays["bias"], int(arrays["n_cold"]))

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score by popularity, whatever the histories are."""
        return Scores(np.zeros((len(histories), 0), np.float32), np.zeros((len(self.bias), 0), np.float32), self.bias)
