"""SASRec (Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, arXiv 1808.09781).

The paper's block is ``x + Dropout(f(LayerNorm(x)))`` as here, but its published code normalises only the queries.
Departures from the paper: the feed-forward layer uses GELU and four times the width (the paper: ReLU, same width),
positions count from the end of the history, item embeddings are not scaled by sqrt(d) as in the paper's code (in
single-seed trials with the full-softmax loss on MovieLens-100K scaling lowered the validation NDCG@10), attention
weights have no dropout, and the loss is an option (the paper: BCE with one negative).

With the block ``ligr`` it is the model of eSASRec (see `ligr`), whose loss is ``sampled``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .backbone import Backbone
from .ligr import LiGRBlock
from .sequences import Packed
from .transformer import PreNormBlock, Transformer

BLOCKS: dict[str, Callable[[int, int, float], nn.Module]] = {"prenorm": PreNormBlock, "ligr": LiGRBlock}


class SASRec(Backbone):
    """Causal self-attention over item histories: every state predicts the next item."""

    packable = True

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.transformer = Transformer(config, causal=True, block=BLOCKS[config.block])

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all positions; arguments as for `Backbone.forward`."""
        return self.transformer(F.embedding(items, item_table, padding_idx=0), lengths)

    def packed_states(self, items: torch.Tensor, lengths: np.ndarray, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all items; arguments as for `Backbone.packed_states`."""
        return self.transformer.states(F.embedding(items, item_table, padding_idx=0), Packed(lengths, len(items)))
