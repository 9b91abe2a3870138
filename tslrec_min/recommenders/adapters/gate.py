"""``gate``: a learned gate between trainable ids and projected item embeddings.

LLMDiRec (arXiv 2601.03259) fuses ids and frozen language vectors like this; its diffusion and intents are left out. For
an item with id vector v and projected embedding t = Linear(x),

    g = sigmoid(W [v; t] + b),    T = g * v + (1 - g) * t

with a gate for each of the d numbers. A new item has v = 0.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .components import Features
from .projection import Projection, table_layer


class GatedFusion(Projection):
    """Ids and a projection of centred and scaled E, mixed by a gate."""

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__(features, config)
        # The gate starts at about 1/2: two independent parts of sqrt(2) times the spread add up to the right one.
        self.ids = nn.Parameter(torch.empty(len(features.items), config.width))
        nn.init.normal_(self.ids, std=config.table_spread * math.sqrt(2))
        self.projection = table_layer(features.width, config, 1 / math.sqrt(2))
        self.gate = nn.Linear(2 * config.width, config.width)

    def fused(self, ids: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the fused vectors of items, float [n, d].

        Args:
            ids: their id vectors, float [n, d].
            features: of their embeddings, float [n, k].
        """
        texts = self.projection(features)
        return torch.lerp(texts, ids, torch.sigmoid(self.gate(torch.cat([ids, texts], dim=1))))

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items without an id vector from their features, float [n, k]."""
        return self.fused(features.new_zeros(len(features), self.ids.shape[1]), features)

    def item_parameters(self) -> list[nn.Parameter]:
        """Return the ids."""
        return [self.ids]

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]; row 0 is zero."""
        return F.pad(self.fused(self.ids, self.features.items), (0, 0, 1, 0))
