"""``moe``: frozen item embeddings and a mixture of experts, of which each item uses two.

UniSRec (Hou et al., KDD 2022, arXiv 2206.05941) adapts text vectors by a mixture of experts; RecXplore (arXiv
2509.14979) found PCA followed by one to be the best adapter. Each expert is Linear(k, 2d) -> ReLU -> Linear(2d, d); a
linear gate gives every item logits; the softmax of the two largest gives the weights of its experts:

    T_i = sum over the two experts e of softmax(g_i)_e expert_e(x_i)

RecXplore's sizes are unknown to us: number of experts, PCA (``--pca-width``) and widths are our choice. Departures
from UniSRec: two experts per item (there: all), no noise on the gate, no dropout, no parametric whitening. No loss
balances the experts: centred features spread the items over them at the start.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ...configs import TrainConfig
from .components import Features
from .projection import Projection, hidden_layer, table_layer

_ACTIVE = 2
"""Experts per item."""


class MixtureOfExperts(Projection):
    """Centred and scaled E (or its PCA), frozen -> two of several experts."""

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__(features, config)
        hidden = 2 * config.width
        self.gate = hidden_layer(features.width, config.experts)
        # ReLU keeps half of its N(0, 1) inputs: the norm of a hidden row is sqrt(hidden / 2).
        self.experts = nn.ModuleList(
            nn.Sequential(hidden_layer(features.width, hidden), nn.ReLU(),
                          table_layer(hidden, config, math.sqrt(hidden / 2)))
            for _ in range(config.experts))

    def routes(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights, float [n, 2], and the numbers, int64 [n, 2], of each item's experts."""
        logits, chosen = self.gate(features).topk(_ACTIVE, dim=1)
        return logits.softmax(dim=1), chosen

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items with these features, float [n, k]."""
        weights, chosen = self.routes(features)
        parts, places = [], []
        for number, expert in enumerate(self.experts):
            rows, slots = torch.nonzero(chosen == number, as_tuple=True)
            parts.append(expert(features[rows]) * weights[rows, slots, None])
            places.append(rows * _ACTIVE + slots)
        order = torch.argsort(torch.cat(places))  # by item: a sum over slots in place of a scatter
        return torch.cat(parts)[order].unflatten(0, (-1, _ACTIVE)).sum(dim=1)
