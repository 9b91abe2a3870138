"""``transitions``: what followed the items of the history in other histories.

    s(u, i) = sum_j w_j log(1 + C[h_j, i] / tau) - p log P(i)

C counts transitions of the training histories, up to a few places apart, each weighing 1 / sqrt(distance); w_j falls
geometrically with the age of item h_j; P(i) is the item's share of all interactions. Mixtures of Markov chains with
skipping are those of Shani, Heckerman and Brafman (JMLR 2005); sequential rules with weights by distance those of
Ludewig and Jannach (UMUAI 2018). The form is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import ClassVar, Self

import numpy as np

from ...data.dataset import Histories
from ...ranking.scores import Scores
from ...ranking.sparse_rows import SparseRows
from ..scorer import ColdColumns
from .base import CountingScorer, Knowledge, summed_rows
from .pairs import transition_counts
from .search import Constants

DISTANCE_EXPONENT = 0.5
"""A transition over d places counts d to the power of minus this."""


class Transitions(CountingScorer):
    """Evidence from weighted counts of transitions, and a small correction for popularity."""

    grid: ClassVar = {"places": (10, 20, 5, 2, 1), "tau": (1.0, 0.3, 3.0, 0.1, 10.0),
                      "decay": (0.6, 0.4, 0.75, 0.9, 0.2, 0.95), "popularity": (0.04, 0.0, 0.1, 0.2)}

    def __init__(self, evidence: SparseRows, counts: np.ndarray, n_cold: int, constants: Constants) -> None:
        """Take log(1 + C / tau), [I+1] rows, the occurrences of the items, int64 [I+1], and the constants."""
        self.evidence, self.counts, self.constants, self.n_cold = evidence, counts, constants, n_cold
        # an item that training lacks counts as half an occurrence
        shares = np.log(np.maximum(counts, 0.5) / max(counts.sum(), 1))
        self.bias = (-constants["popularity"] * shares).astype(np.float32)
        self.bias[0] = 0
        least = np.log(0.5 / max(counts.sum(), 1))
        self.cold = ColdColumns.without_vectors(
            n_cold, np.full(n_cold, -constants["popularity"] * least, np.float32)) if n_cold else None

    @classmethod
    def maker(cls, known: Knowledge) -> Callable[[Constants], Self]:
        """Return what makes the recommender from places, tau, decay and the weight of popularity."""
        occurrences = known.counts

        @cache
        def counted(places: float) -> SparseRows:
            return transition_counts(known.training, known.n_items, int(places), DISTANCE_EXPONENT)

        @lru_cache(maxsize=1)  # decay and popularity are varied last, and change nothing of it
        def evidence(places: float, tau: float) -> SparseRows:
            counts = counted(places)
            return SparseRows(counts.indptr, counts.items, np.log1p(counts.values / tau).astype(np.float32))

        return lambda constants: cls(evidence(constants["places"], constants["tau"]), occurrences, known.n_cold,
                                     constants)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the evidence, the occurrences and the number of cold items."""
        return {"indptr": self.evidence.indptr, "items": self.evidence.items, "values": self.evidence.values,
                "counts": self.counts, "n_cold": np.array(self.n_cold)}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], constants: Constants) -> Self:
        """Rebuild from `arrays`."""
        evidence = SparseRows(arrays["indptr"], arrays["items"], arrays["values"])
        return cls(evidence, arrays["counts"], int(arrays["n_cold"]), constants)

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score what follows every history."""
        sparse = summed_rows(self.evidence, histories, self.constants["decay"], threads)
        return Scores.without_vectors(len(histories), len(self.bias) - 1, self.bias, sparse)
