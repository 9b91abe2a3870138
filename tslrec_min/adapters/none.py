"""``none``: a trainable table of ids, the baseline without item embeddings."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class TrainableTable(nn.Module):
    """Trainable vectors, one per item, below a padding row of zeros.

    The padding row is part of the parameter, so that no step copies the table; it stays zero because no loss and no
    lookup gives it a gradient, and neither Adam nor weight decay moves a zero without one.
    """

    def __init__(self, items: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.cat([items.new_zeros(1, items.shape[1]), items]))

    @classmethod
    def random(cls, n_items: int, width: int, std: float) -> TrainableTable:
        """Start from N(0, std^2)."""
        return cls(nn.init.normal_(torch.empty(n_items, width), std=std))

    @classmethod
    def normalised(cls, items: np.ndarray, std: float) -> TrainableTable:
        """Start from the rows of float [I, d], each with the norm that a row of N(0, std^2) has on average."""
        norms = np.linalg.norm(items, axis=1, keepdims=True)
        rows = items / np.maximum(norms, 1e-12) * (std * np.sqrt(items.shape[1]))
        return cls(torch.from_numpy(rows.astype(np.float32)))

    @classmethod
    def restore(cls, state: dict[str, torch.Tensor]) -> TrainableTable:
        """Rebuild from a state dict."""
        return cls(state["weight"][1:])

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]."""
        return self.weight
