"""Sequential recommenders: one file per backbone, and the pairing of a backbone with an item table.

A backbone turns histories into states; scores are always ``states @ item_table.T``.
"""

from __future__ import annotations

import torch
from torch import nn

from ..configs import TrainConfig
from .sasrec import SASRec


class SequentialRecommender(nn.Module):
    """A backbone and the adapter that makes its item table."""

    def __init__(self, adapter: nn.Module, backbone: SASRec) -> None:
        super().__init__()
        self.adapter = adapter
        self.backbone = backbone

    def item_table(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]; row 0 is padding and zero."""
        return self.adapter()

    def forward(self, inputs: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all positions.

        Args:
            inputs: int64 [B, T], left-padded histories, 0 = padding.
            item_table: float [I+1, d].

        Returns:
            float [B, T, d].
        """
        return self.backbone(inputs, item_table)


def build_recommender(adapter: nn.Module, config: TrainConfig) -> SequentialRecommender:
    """Pair an adapter with a freshly initialised backbone."""
    return SequentialRecommender(adapter, SASRec(config.width, config.blocks, config.heads, config.dropout,
                                                 config.max_len))
