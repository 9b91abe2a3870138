"""``whiten``: frozen whitened principal components and a trainable projection.

After WhitenRec (Zhang et al., "Are ID Embeddings Necessary? Whitening Pre-trained Text Embeddings for Effective
Sequential Recommendation", ICDE 2024, arXiv 2402.10602): text vectors all point in about the same direction; with the
same variance in every component they tell items apart. Departures: one linear layer (there: an MLP), PCA whitening, and
only full whitening (WhitenRec+ adds an ensemble with group-wise whitening). Whitening amplifies the noise in components
of little variance: ``--pca-width`` leaves them out.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ...configs import TrainConfig
from .components import Features
from .linear import LinearProjection


class WhitenedProjection(LinearProjection):
    """Whitened principal components, frozen -> Linear(k, d)."""

    @staticmethod
    def fit_features(embeddings: np.ndarray, config: TrainConfig) -> Features:
        """Whiten the first principal components of float [I+1, D]."""
        return Features.whitened(embeddings, config.pca_width, "--pca-width")

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items with these features, float [n, k]."""
        # Rows of k values of variance 1 are scaled to norm 1, as the features of the other projections are.
        return super().vectors(features / math.sqrt(features.shape[1]))
