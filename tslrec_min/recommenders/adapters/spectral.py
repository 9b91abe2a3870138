"""``spectral``: every number of a vector attends over all singular components of the item embeddings.

Inspired by SpecTran (arXiv 2601.21986), of which we know that a Transformer attends over the whole spectrum and that a
learned encoding of the spectral position carries the singular values; the rest is ours. With E - mu = U diag(S) V^T of
rank r,

    k_m = W [MLP(z_m)] + p_m                           key of component m; z: log S, standardised; p: learned
    A_jm = softmax_m(q_j k_m / sqrt(h) + b z_m)        q_j: learned query of the j-th number of a vector
    B_jm = tanh(q'_j k_m / sqrt(h))                    its sign: attention alone can't subtract components
    T_ij = c_j sum_m A_jm B_jm U_im (S_m / S_1)^gamma      gamma: learned, from 1/2

gamma = 1 would weigh components as PCA does, gamma = 0 as whitening. A new item's U_m is (e - mu) V_m / S_m.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from ...configs import TrainConfig
from .components import Features
from .projection import Projection, hidden_layer

_KEY_WIDTH = 32
_SPECTRUM_WIDTH = 16


class SpectralAttention(Projection):
    """Whitened components, frozen -> signed attention over the spectrum."""

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__(features, config)
        self.positions = nn.Parameter(torch.randn(features.width, _KEY_WIDTH))
        self.spectrum = nn.Sequential(hidden_layer(1, _SPECTRUM_WIDTH), nn.GELU(),
                                      nn.Linear(_SPECTRUM_WIDTH, _KEY_WIDTH))
        self.queries = nn.Parameter(torch.randn(config.width, _KEY_WIDTH))
        self.sign_queries = nn.Parameter(torch.randn(config.width, _KEY_WIDTH))
        self.preference = nn.Parameter(torch.zeros(()))
        self.exponent = nn.Parameter(torch.tensor(0.5))
        self.scale = nn.Parameter(torch.ones(config.width))
        with torch.no_grad():
            self.scale.copy_(config.table_spread / self.weights().norm(dim=1).clamp_min(1e-12))

    @staticmethod
    def fit_features(embeddings: np.ndarray, config: TrainConfig) -> Features:
        """Whiten the principal components of float [I+1, D]."""
        return Features.whitened(embeddings, config.pca_width, "--pca-width")

    def weights(self) -> torch.Tensor:
        """Return the weight of each whitened component in each number of a vector, float [d, k]."""
        logs = -self.features.scale.log()  # of S, up to a constant: the scale is 1 / sqrt(variance)
        levels = (logs - logs.mean()) / logs.std(correction=0).clamp_min(1e-6)
        keys = (self.spectrum(levels[:, None]) + self.positions) / math.sqrt(_KEY_WIDTH)
        attention = (self.queries @ keys.T + self.preference * levels).softmax(dim=1)
        strengths = ((logs - logs.max()) * self.exponent).exp()
        return self.scale[:, None] * attention * torch.tanh(self.sign_queries @ keys.T) * strengths

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items with these features, float [n, k]."""
        return features @ self.weights().T
