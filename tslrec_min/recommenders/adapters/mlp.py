"""``mlp``: frozen item embeddings and a trainable projection with one hidden layer.

Linear(k, (k + d) / 2) -> GELU -> Linear((k + d) / 2, d). The hidden width is that of the projections of RLMRec (Ren et
al., WWW 2024, arXiv 2310.15950); LLMEmb (Liu et al., arXiv 2409.19925) also trains two layers, without a non-linearity
between them. Here only the recommender's loss trains the projection; no loss aligns it with another table.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ...configs import TrainConfig
from .components import Features
from .projection import Projection, hidden_layer, table_layer

_GELU_RMS = 0.65
"""Root mean square of GELU(x) for x ~ N(0, 1)."""


class MLPProjection(Projection):
    """Centred and scaled E, frozen -> two layers."""

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__(features, config)
        hidden = (features.width + config.width) // 2
        self.layers = nn.Sequential(hidden_layer(features.width, hidden), nn.GELU(),
                                    table_layer(hidden, config, _GELU_RMS * math.sqrt(hidden)))

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items with these features, float [n, k]."""
        vectors: torch.Tensor = self.layers(features)
        return vectors
