"""``whiten``: frozen whitened principal components and a trainable projection.

After WhitenRec (Zhang et al., "Are ID Embeddings Necessary? Whitening Pre-trained Text Embeddings for Effective
Sequential Recommendation", ICDE 2024, arXiv 2402.10602): text vectors all point about the same way, and giving every
component the same variance before they are projected makes them tell items apart. Departures: one linear layer (there:
an MLP), PCA whitening, and full whitening alone (WhitenRec+ adds an ensemble with group-wise whitening). Components of
little variance are noise that whitening makes loud: ``--pca-width`` leaves them out.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ...configs import TrainConfig
from .components import Features
from .projection import Projection, table_layer


class WhitenedProjection(Projection):
    """Whitened principal components, frozen -> Linear(k, d)."""

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__(features, config)
        self.projection = table_layer(features.width, config)

    @staticmethod
    def fit_features(embeddings: np.ndarray, config: TrainConfig) -> Features:
        """Whiten the first principal components of float [I+1, D]."""
        return Features.whitened(embeddings, config.pca_width, "--pca-width")

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items with these features, float [n, k]."""
        # Rows of k values of variance 1 are brought to norm 1, as the other projections' features are.
        vectors: torch.Tensor = self.projection(features / math.sqrt(features.shape[1]))
        return vectors
