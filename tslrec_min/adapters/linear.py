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
    mean: torch.Tensor | None
    scale: torch.Tensor | None

    def __init__(self, embeddings: torch.Tensor, width: int, mean: torch.Tensor | None = None,
                 scale: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("embeddings", embeddings)
        self.register_buffer("mean", mean)  # [D] and [1]: of the fit; weights of older versions lack them
        self.register_buffer("scale", scale)
        self.projection = nn.Linear(embeddings.shape[1], width)
        # A row's entries start with the spread of a random table's.
        nn.init.normal_(self.projection.weight, std=0.02)
        nn.init.zeros_(self.projection.bias)

    @classmethod
    def fit(cls, embeddings: np.ndarray, width: int) -> LinearProjection:
        """Centre and scale embeddings, float [I+1, D], in float64 and without the padding row."""
        items = embeddings[1:].astype(np.float64)
        centred = items - items.mean(axis=0)
        scale = max(np.sqrt(np.square(centred).sum(axis=1).mean()), 1e-12)  # root mean square norm
        return cls(torch.from_numpy((centred / scale).astype(np.float32)), width,
                   torch.from_numpy(items.mean(axis=0).astype(np.float32)), torch.tensor([scale], dtype=torch.float32))

    @classmethod
    def restore(cls, state: dict[str, torch.Tensor]) -> LinearProjection:
        """Rebuild from a state dict."""
        adapter = cls(state["embeddings"], state["projection.weight"].shape[0], state.get("mean"), state.get("scale"))
        adapter.load_state_dict(state)
        return adapter

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]."""
        table = self.projection(self.embeddings)
        return torch.cat([table.new_zeros(1, table.shape[1]), table])

    def project(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return table rows, float [n, d], of items unseen in the fit and in training, by embeddings, float [n, D]."""
        if self.mean is None or self.scale is None:
            raise ValueError("these weights are of an older version, which did not keep the fit; train them again")
        return self.projection((embeddings - self.mean) / self.scale)
