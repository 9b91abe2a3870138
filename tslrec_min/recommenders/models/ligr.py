"""The LiGR block: a pre-norm block whose residual branches pass through learned gates.

``x + sigmoid(W x + b) * f(LayerNorm(x))`` for attention and feed-forward, as in LiGR (Borisyuk et al., "From Features
to Transformers: Redefining Ranking for Scalable Impact", arXiv 2502.03417) in the form of eSASRec (Tikhonovich et al.,
"eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion", RecSys 2025, arXiv 2508.06450, with its
code in RecTools): the gate reads the block's unnormalised input, and the feed-forward layer is SwiGLU (Shazeer, arXiv
2002.05202) without biases, of four times the width. The gates begin at about one half.

Departures from eSASRec: attention weights have no dropout, a LayerNorm follows the last block, and linear layers start
with a standard deviation of 0.02 (there: Xavier).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .dropout import Dropout
from .sequences import Sequences


class LiGRBlock(nn.Module):
    """Self-attention and feed-forward, each with a gated residual connection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.attention_gate = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_input = nn.Linear(width, 8 * width, bias=False)
        """Of SwiGLU's two factors: first the one that passes through SiLU, then the linear one."""
        self.feed_forward_output = nn.Linear(4 * width, width, bias=False)
        self.feed_forward_gate = nn.Linear(width, width)
        self.attention_dropout = Dropout(dropout)
        self.inner_dropout = Dropout(dropout)
        self.feed_forward_dropout = Dropout(dropout)

    def forward(self, states: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """Return the next states, float [..., d].

        Args:
            states: float [..., d].
            sequences: how the states' tokens lie, which says the leading dimensions.
        """
        query_key_value = sequences.norm_linear(states, self.attention_norm, self.query_key_value)
        attended = self.attention_output(sequences.attend(query_key_value, self.heads))
        gate = torch.sigmoid(self.attention_gate(states))
        states = states + gate * sequences.drop(self.attention_dropout, attended)
        activated, linear = self.feed_forward_input(self.feed_forward_norm(states)).chunk(2, dim=-1)
        inner = self.feed_forward_output(sequences.drop(self.inner_dropout, F.silu(activated) * linear))
        gate = torch.sigmoid(self.feed_forward_gate(states))
        return states + gate * sequences.drop(self.feed_forward_dropout, inner)
