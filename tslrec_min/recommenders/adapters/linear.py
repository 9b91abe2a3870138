"""``linear``: frozen item embeddings and a trainable projection.

The embeddings are centred and divided by one number before the projection. A linear layer with a bias can undo both,
so this changes how well it trains, not what it can express.
"""

from __future__ import annotations

import torch

from ...configs import TrainConfig
from .components import Features
from .projection import Projection, table_layer


class LinearProjection(Projection):
    """Centred and scaled E, frozen -> Linear(k, d)."""

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__(features, config)
        self.projection = table_layer(features.width, config)

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items with these features, float [n, k]."""
        vectors: torch.Tensor = self.projection(features)
        return vectors
