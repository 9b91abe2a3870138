"""``transitions``: what followed the items of the history in other histories.

    s(u, i) = sum_j w_j log(1 + C[h_j, i] / tau) - p log P(i)

C counts transitions of the training histories, up to a few places apart, each weighing 1 / sqrt(distance); w_j falls
geometrically with the age of item h_j; P(i) is the item's share of all interactions. Mixtures of Markov chains with
skipping are those of Shani, Heckerman and Brafman (JMLR 2005); sequential rules with weights by distance those of
Ludewig and Jannach (UMUAI 2018). The form is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from ...data.dataset import Histories
from ...ranking.scores import Scores
from ...ranking.sparse_rows import SparseRows
from ..scorer import ColdColumns
from ..sparse_rows import weighted_row_sums
from .base import CountingScorer, Knowledge, recency_weights
from .pairs import transition_counts
from .search import Constants

_DISTANCE_EXPONENT = 0.5


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
        self.cold = ColdColumns(np.zeros((n_cold, 0), np.float32), np.full(
            n_cold, -constants["popularity"] * least, np.float32)) if n_cold else None

    @classmethod
    def maker(cls, known: Knowledge) -> Callable[[Constants], Self]:
        """Return what makes the recommender from places, tau, decay and the weight of popularity."""
        counted: dict[float, SparseRows] = {}

        def made(constants: Constants) -> Any:  # Self, which mypy doesn't know in here
            places = constants["places"]
            if places not in counted:
                counted[places] = transition_counts(known.training, known.n_items, int(places), _DISTANCE_EXPONENT)
            counts = counted[places]
            evidence = np.log1p(counts.values / constants["tau"]).astype(np.float32)
            return cls(SparseRows(counts.indptr, counts.items, evidence), known.counts, known.n_cold, constants)

        return made

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
        recent, weights = recency_weights(histories, self.constants["decay"])
        n_items = len(self.bias) - 1
        sparse = weighted_row_sums(recent.indptr, recent.items, weights, self.evidence.indptr, self.evidence.items,
                                   self.evidence.values, n_items, num_threads=threads)
        nothing = np.zeros((len(histories), 0), np.float32)
        return Scores(nothing, np.zeros((n_items + 1, 0), np.float32), self.bias, sparse)
