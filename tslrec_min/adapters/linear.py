"""``linear``: frozen item embeddings and a trainable projection.

The embeddings are centred and divided by one number before the projection. A linear layer with a bias can undo
both, so they change how well it trains, not what it can express.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class LinearProjection(nn.Module):
    """Centred and scaled E, frozen -> Linear(D, d)."""

    embeddings: torch.Tensor

    def __init__(self, embeddings: torch.Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", embeddings)
        self.projection = nn.Linear(embeddings.shape[1], width)
        # A row's entries start with the spread of a random table's.
        nn.init.normal_(self.projection.weight, std=0.02)
        nn.init.zeros_(self.projection.bias)

    @classmethod
    def fit(cls, embeddings: np.ndarray, width: int) -> LinearProjection:
        """Centre and scale embeddings, float [I+1, D], in float64 and without the padding row."""
        items = embeddings[1:].astype(np.float64)
        centred = items - items.mean(axis=0)
        scale = np.sqrt(np.square(centred).sum(axis=1).mean())  # root mean square norm
        return cls(torch.from_numpy((centred / max(scale, 1e-12)).astype(np.float32)), width)

    @classmethod
    def restore(cls, state: dict[str, torch.Tensor]) -> LinearProjection:
        """Rebuild from a state dict."""
        adapter = cls(state["embeddings"], state["projection.weight"].shape[0])
        adapter.load_state_dict(state)
        return adapter

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]."""
        table = self.projection(self.embeddings)
        return torch.cat([table.new_zeros(1, table.shape[1]), table])
