"""GRU4Rec (Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016,
arXiv 1511.06939).

Departures from the paper: whole histories in place of session-parallel mini-batches (backpropagation runs through the
whole window), dropout on the item vectors, a linear layer from the recurrent units to the width of the item table, and
the loss is an option (the paper: BPR or TOP1; later work found cross-entropy better: Hidasi and Karatzoglou, CIKM 2018,
arXiv 1706.03847).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .backbone import Backbone
from .dropout import Dropout


class GRU4Rec(Backbone):
    """Gated recurrent units over item histories: every state predicts the next item."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(config.width, config.units, config.blocks, batch_first=True)
        self.output = nn.Linear(config.units, config.width)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all positions; arguments as for `Backbone.forward`."""
        # Padding on the right changes no state before it; torch's packed sequences took five times longer.
        states, _ = self.gru(self.dropout(F.embedding(items, item_table, padding_idx=0)))
        return self.output(states)
