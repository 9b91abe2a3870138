"""``content-cca``: like ``content``, by vectors that say what items of the same history have in common.

What is near in the space of a language model is not always what users take together. Canonical correlation analysis
of the items of a history (`adapters.cca` has the formula) finds the directions of the item embeddings in which one
predicts the other. e_i are the first of these components, scaled to a mean square of 1, and from there on as in
``content``; how many is chosen on validation targets. They are a linear map of the embeddings, found without training,
so that rare and cold items have vectors as good as all others. What a tuned language model brings has to be compared
with this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import ClassVar, Self

import numpy as np

from ...data.dataset import Histories
from ..adapters.cca import canonical_map
from ..adapters.components import PrincipalComponents
from .base import Knowledge
from .content import MOST_COMPONENTS, Content, embeddings_for, half_whitened
from .search import Constants

WINDOW = 10
"""Maximum distance, in items, between the two items of a pair in a history."""


class ContentCCA(Content):
    """The cosine of canonical components, averaged over the history with weights by recency."""

    grid: ClassVar = {**Content.grid, "components": (MOST_COMPONENTS, 128, 96, 64, 48, 32)}

    @classmethod
    def maker(cls, known: Knowledge) -> Callable[[Constants], Self]:
        """Return what makes the recommender from the decay and the number of components.

        Raises:
            TslrecError: there are no item embeddings, or no training history has two different items to pair.
        """
        embeddings = embeddings_for(known, "content-cca")
        vectors, cold = canonical(embeddings.known, embeddings.cold, known.training)

        @cache
        def of(components: int) -> tuple[np.ndarray, np.ndarray]:
            return half_whitened(vectors[:, :components], cold[:, :components])

        return lambda constants: cls(*of(int(constants["components"])), constants)


def canonical(known: np.ndarray, cold: np.ndarray, training: Histories) -> tuple[np.ndarray, np.ndarray]:
    """Return the first canonical components, scaled to a mean square of 1: float64 [I+1, k] and [C, k].

    Args:
        known: float32 [I+1, D], row 0 is padding; the components are those of these items.
        cold: float32 [C, D].
        training: whose items are paired.

    Raises:
        TslrecError: no history has two different items within the window.
    """
    fitted = PrincipalComponents.fit(known)
    if not fitted.rank:  # all vectors are the same, as those of data without titles are
        return np.zeros((len(known), 1)), np.zeros((len(cold), 1))
    rows = fitted.whitened(fitted.centred)
    mean, directions, _ = canonical_map(rows, MOST_COMPONENTS, training, WINDOW, "--model content-cca")
    components = (rows - mean) @ directions
    scale = 1 / np.maximum(np.sqrt((components ** 2).mean(axis=0)), 1e-12)
    of_cold = (fitted.whitened(cold - fitted.mean) - mean) @ directions
    return np.concatenate([np.zeros_like(components[:1]), components * scale]), of_cold * scale
