"""``none``: a trainable table of ids, the baseline without item embeddings."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import nn

from ...configs import TrainConfig
from ...data.dataset import Histories
from .base import Adapter


class TrainableTable(Adapter):
    """Trainable vectors, one per item, below a padding row of zeros.

    The padding row is part of the parameter, so that no step copies the table. It stays zero: it never gets a gradient,
    and without one neither Adam nor weight decay moves a zero.
    """

    start: torch.Tensor | None
    """float [I+1, d], frozen: what the vectors decay to; `weight` is their distance from it. None: zero."""

    def __init__(self, weight: torch.Tensor, start: torch.Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_buffer("start", start)

    @classmethod
    def build(cls, config: TrainConfig, embeddings: np.ndarray, training: Histories) -> Self:
        """Start from N(0, table_spread^2); the embeddings, [I+1, 0], only give the number of items."""
        return cls(_padded(nn.init.normal_(torch.empty(len(embeddings) - 1, config.width), std=config.table_spread)))

    @classmethod
    def normalised(cls, items: np.ndarray, config: TrainConfig) -> Self:
        """Start from the rows of float [I, d], each scaled to the average norm of a row of the random table."""
        norms = np.linalg.norm(items, axis=1, keepdims=True)
        rows = items / np.maximum(norms, 1e-12) * (config.table_spread * np.sqrt(items.shape[1]))
        table = _padded(torch.from_numpy(rows.astype(np.float32)))
        return cls(torch.zeros_like(table), table) if config.table_decay else cls(table)

    @classmethod
    def restore(cls, config: TrainConfig, state: dict[str, torch.Tensor]) -> Self:
        """Rebuild a trained table from its state; see `Adapter.restore`."""
        return cls(state["weight"], state.get("start"))

    def item_parameters(self) -> list[nn.Parameter]:
        """Return the table."""
        return [self.weight]

    def forward(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]."""
        return self.weight if self.start is None else self.start + self.weight


def _padded(items: torch.Tensor) -> torch.Tensor:
    return torch.cat([items.new_zeros(1, items.shape[1]), items])
