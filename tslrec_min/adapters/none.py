"""``none``: a trainable table of ids, the baseline without item embeddings."""

from __future__ import annotations

import torch
from torch import nn


class TrainableTable(nn.Module):
    """Trainable vectors, one per item; padding stays zero because it is no parameter."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    @classmethod
    def random(cls, n_items: int, width: int) -> TrainableTable:
        """Start from N(0, 0.02^2)."""
        return cls(nn.init.normal_(torch.empty(n_items, width), std=0.02))

    @classmethod
    def restore(cls, state: dict[str, torch.Tensor]) -> TrainableTable:
        """Rebuild from a state dict."""
        return cls(state["weight"])

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]."""
        return torch.cat([self.weight.new_zeros(1, self.weight.shape[1]), self.weight])
