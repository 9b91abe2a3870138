"""``popularity``: every user gets the items that occur most in the training histories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np

from ...data.dataset import Histories
from ...ranking.scores import Scores
from ..scorer import ColdColumns
from .base import CountingScorer, Knowledge
from .search import Constants


class Popularity(CountingScorer):
    """The score is the number of occurrences in training; without constants."""

    def __init__(self, counts: np.ndarray, n_cold: int) -> None:
        self.bias = counts.astype(np.float32)  # [I+1]
        self.cold = ColdColumns.without_vectors(n_cold) if n_cold else None
        self.constants = {}

    @classmethod
    def maker(cls, known: Knowledge) -> Callable[[Constants], Self]:
        """Return what makes the recommender; there are no constants."""
        return lambda _: cls(known.counts, known.n_cold)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the counts, and the number of cold items."""
        return {"bias": self.bias, "n_cold": np.array(len(self.cold.rows) if self.cold else 0)}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], constants: Constants) -> Self:
        """Rebuild from `arrays`."""
        return cls(arrays["bias"], int(arrays["n_cold"]))

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score by popularity, whatever the histories are."""
        return Scores.without_vectors(len(histories), len(self.bias) - 1, self.bias)
