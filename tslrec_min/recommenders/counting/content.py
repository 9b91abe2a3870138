"""``content``: items whose vectors are near those of the history, as they are: a frozen text term.

    s(u, i) = z_u . e_i,   z_u = sum_j w_j e_{h_j}

e_i: principal components of the item embeddings, each divided by the square root of its standard deviation
(*half-whitened*: a few directions that all texts share no longer dominate, as full whitening would make noise dominate;
Huang et al., "WhiteningBERT", 2021, whiten fully), scaled to length 1. Vectors that were tuned to be compared
(`finetuning.projection`) are taken as they are. w_j falls geometrically with the age of h_j. Cold items have vectors as
all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import numpy as np

from ...data.dataset import Histories
from ...errors import TslrecError
from ...item_vectors.load import ItemEmbeddings
from ...ranking.scores import Scores
from ..adapters.components import PrincipalComponents
from ..scorer import ColdColumns
from .base import CountingScorer, Knowledge, recency_weights
from .search import Constants

MOST_COMPONENTS = 192
_ENTRIES_AT_ONCE = 1 << 16


class Content(CountingScorer):
    """The cosine of half-whitened vectors, averaged over the history with weights by recency."""

    grid: ClassVar = {"decay": (0.6, 0.4, 0.75, 0.9, 0.2, 0.95)}

    def __init__(self, vectors: np.ndarray, cold: np.ndarray, constants: Constants) -> None:
        """Take the vectors e, float32 [I+1, k] with a zero row 0, and those of cold items, float32 [C, k]."""
        self.vectors, self.constants = vectors, constants
        self.cold = ColdColumns(cold) if len(cold) else None

    @classmethod
    def maker(cls, known: Knowledge) -> Callable[[Constants], Self]:
        """Return what makes the recommender from the decay.

        Raises:
            TslrecError: there are no item embeddings.
        """
        embeddings = embeddings_for(known, "content")
        if embeddings.compared:
            vectors, cold = unit_rows(embeddings.known), unit_rows(embeddings.cold)
        else:
            vectors, cold = half_whitened(embeddings.known, embeddings.cold)
        return lambda constants: cls(vectors, cold, constants)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the vectors."""
        return {"vectors": self.vectors, "cold": self.cold.rows if self.cold else self.vectors[:0]}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], constants: Constants) -> Self:
        """Rebuild from `arrays`."""
        return cls(arrays["vectors"], arrays["cold"], constants)

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score what follows every history."""
        recent, weights = recency_weights(histories, self.constants["decay"])
        states = np.zeros((len(recent), self.vectors.shape[1]), np.float32)
        start = 0
        while start < len(recent):  # the gathered vectors stay small
            stop = int(np.searchsorted(recent.indptr, recent.indptr[start] + _ENTRIES_AT_ONCE, "right")) - 1
            stop = min(max(stop, start + 1), len(recent))
            entries = slice(recent.indptr[start], recent.indptr[stop])
            weighted = self.vectors[recent.items[entries]] * weights[entries, None].astype(np.float32)
            filled = start + np.flatnonzero(recent.lengths[start:stop])  # an empty history has the state 0
            if len(filled):
                states[filled] = np.add.reduceat(weighted, recent.indptr[filled] - recent.indptr[start])
            start = stop
        return Scores(states, self.vectors)


def half_whitened(known: np.ndarray, cold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return half-whitened vectors of length 1, float32 [I+1, k] and [C, k].

    A vector without anything but the mean becomes zero.

    Args:
        known: float32 [I+1, D], row 0 is padding; the components are those of these items.
        cold: float32 [C, D].
    """
    fitted = PrincipalComponents.fit(known)
    directions = fitted.half_whitening(MOST_COMPONENTS)
    made = unit_rows(fitted.centred @ directions)
    return np.concatenate([np.zeros_like(made[:1]), made]), unit_rows((cold - fitted.mean) @ directions)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return the rows of float64 [N, k] scaled to length 1, float32; a row of zeros stays one."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: np.ndarray = (rows / np.maximum(norms, 1e-12)).astype(np.float32)
    return scaled


def embeddings_for(known: Knowledge, model: str) -> ItemEmbeddings:
    """Return the item embeddings.

    Raises:
        TslrecError: there are none.
    """
    if known.embeddings is None:
        raise TslrecError(f"--model {model} compares item embeddings; give them with --embeddings")
    return known.embeddings
