"""``alphafuse``: frozen whitened principal components, and trainable ids in the last of them.

AlphaFuse (Hu et al., "AlphaFuse: Learn ID Embeddings for Sequential Recommendation in Null Space of Language
Embeddings", SIGIR 2025, arXiv 2504.19218), with standardised components and uniform item weights. With mu and
C = U diag(S) U^T the mean and the covariance of E:

    X = (E - mu) U_d diag(S_d)^(-1/2)                  the first d components, each of variance 1, frozen
    T = s X + [0 | ID]                                 ID: trainable, zero at the start, in the last d_n columns

The components with the least variance hold the least of the text's meaning, so the ids go there. Departures: s gives
the frozen part the spread of the other tables here (there: 1); the padding row is zero (there: random). The published
code's factor on E itself would be undone by the whitening.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .components import Features
from .projection import Projection


class AlphaFuse(Projection):
    """Whitened components, frozen, plus ids in the last columns."""

    def __init__(self, features: Features, config: TrainConfig) -> None:
        super().__init__(features, config)
        self.std = config.table_spread
        id_width = config.width // 2 if config.id_width is None else config.id_width
        self.ids = nn.Parameter(torch.zeros(len(features.items), id_width))

    @staticmethod
    def fit_features(embeddings: np.ndarray, config: TrainConfig) -> Features:
        """Whiten the first d principal components of float [I+1, D]."""
        return Features.whitened(embeddings, config.width, "--width")

    def vectors(self, features: torch.Tensor) -> torch.Tensor:
        """Return the frozen part of the vectors, float [n, d]; new items have no other."""
        return self.std * features

    def item_parameters(self) -> list[nn.Parameter]:
        """Return the ids."""
        return [self.ids]

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]; row 0 is zero."""
        frozen = self.vectors(self.features.items)
        return F.pad(frozen + F.pad(self.ids, (frozen.shape[1] - self.ids.shape[1], 0)), (0, 0, 1, 0))
