"""BERT4Rec (Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
Transformer", CIKM 2019, arXiv 1904.06690).

Random items of a history are replaced by a mask and predicted from both sides; to recommend, a mask is appended to the
history. Departures from the paper: pre-norm blocks (there: post-norm), positions that count from the end, no
projection with GELU and no item bias before the scores, so that scores are states @ item table^T as for all models.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .backbone import Backbone
from .sequences import Packed
from .transformer import Transformer


class BERT4Rec(Backbone):
    """Self-attention in both directions, trained to fill gaps."""

    objective = "cloze"
    packable = True

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.empty(config.width))
        nn.init.normal_(self.mask, std=0.02)
        self.transformer = Transformer(config, causal=False)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all positions; arguments as for `Backbone.forward`."""
        return self.transformer(self._vectors(items, item_table), lengths)

    def packed_states(self, items: torch.Tensor, lengths: np.ndarray, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all items; arguments as for `Backbone.packed_states`."""
        return self.transformer.states(self._vectors(items, item_table), Packed(lengths, len(items), causal=False))

    def _vectors(self, items: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the vectors of items, int64 [...], and the mask where an item is hidden, float [..., d]."""
        hidden = items == len(item_table)
        vectors = F.embedding(items.masked_fill(hidden, 0), item_table, padding_idx=0)
        return torch.where(hidden[..., None], self.mask, vectors)

    def final_states(self, items: torch.Tensor, lengths: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Append a mask to each history, without its oldest item if there is no room, and return the mask's state.

        Arguments as for `Backbone.forward`.
        """
        max_len = len(self.transformer.positions)
        rows = torch.arange(len(items), device=items.device)
        if items.shape[1] == max_len:
            full = (lengths == max_len)[:, None]
            items, lengths = torch.where(full, items.roll(-1, dims=1), items), lengths.clamp_max(max_len - 1)
        else:
            items = F.pad(items, (0, 1))
        items = items.index_put((rows, lengths), torch.tensor(len(item_table), device=items.device))
        return super().final_states(items, lengths + 1, item_table)
