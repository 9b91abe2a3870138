"""The base class of adapters that compute an item's vector from its embedding, and their layers."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from ...data.dataset import Histories
from .base import Adapter
from .components import Features


class Projection(Adapter):
    """Frozen features of the items -> item table.

    Subclasses define `vectors`, and `fit_features` if they need other features than centred embeddings or their PCA.
    """

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__()
        self.features = features

    @classmethod
    def build(cls, config: TrainConfig, embeddings: np.ndarray, training: Histories) -> Self:
        """Fit the features on float [I+1, D] and start from random weights; see `Adapter.build`."""
        return cls(cls.fit_features(embeddings, config), config)

    @classmethod
    def restore(cls, config: TrainConfig, state: dict[str, torch.Tensor]) -> Self:
        """Rebuild a trained projection from its state; see `Adapter.restore`."""
        adapter = cls(Features(state["features.items"], state["features.mean"], state["features.scale"],
                               state.get("features.directions")), config)
        adapter.load_state_dict(state)
        return adapter

    @staticmethod
    def fit_features(embeddings: np.ndarray, config: TrainConfig) -> Features:
        """Fit the features on float [I+1, D]."""
        return Features.centred(embeddings, config.pca_width)

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the vectors, float [n, d], of items with these features, float [n, k]."""
        raise NotImplementedError

    def project(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the vectors of new items, given float [n, D]; see `Adapter.project`."""
        return self.vectors(self.features(embeddings))

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]; row 0 is zero."""
        return F.pad(self.vectors(self.features.items), (0, 0, 1, 0))


def hidden_layer(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer that makes values of variance 1 from rows of norm 1."""
    return _layer(inputs, outputs, 1.0)


def table_layer(inputs: int, config: TrainConfig, norm: float = 1.0) -> nn.Linear:
    """Return a layer that makes rows of the item table with the configured spread from input rows of norm `norm`."""
    return _layer(inputs, config.width, config.table_spread / norm)


def _layer(inputs: int, outputs: int, std: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer
