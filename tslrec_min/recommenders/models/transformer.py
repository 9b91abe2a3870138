"""The transformer that SASRec and BERT4Rec share: blocks over right-padded histories, and a LayerNorm after the last.

The usual block is *pre-norm*, as in GPT-2 (Radford et al., 2019): ``x + f(LayerNorm(x))`` for attention and
feed-forward alike. The feed-forward layer uses GELU and four times the width. Attention weights have no dropout:
drawing it costs a tenth of the training time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...configs import TrainConfig
from .dropout import Dropout
from .sequences import Padded, Sequences


def initialise_linear(module: nn.Module) -> None:
    """Draw the weights of all linear layers from a normal distribution of standard deviation 0.02; no biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PreNormBlock(nn.Module):
    """Self-attention and feed-forward, each with a residual connection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.attention_dropout = Dropout(dropout)
        self.feed_forward_dropout = Dropout(dropout)

    def forward(self, states: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """Return the next states, float [..., d].

        Args:
            states: float [..., d].
            sequences: how the states' tokens lie, which says the leading dimensions.
        """
        query_key_value = sequences.norm_linear(states, self.attention_norm, self.query_key_value)
        attended = sequences.attend(query_key_value, self.heads)
        states = sequences.add_linear(states, self.attention_output, attended, self.attention_dropout)
        return sequences.add_feed_forward(states, self.feed_forward, self.feed_forward_dropout,
                                          before=self.feed_forward_norm)


class Transformer(nn.Module):
    """Learned positions and blocks of attention, causal or in both directions."""

    def __init__(self, config: TrainConfig, *, causal: bool,
                 block: Callable[[int, int, float], nn.Module] = PreNormBlock) -> None:
        """Build `block` of the width, the heads and the dropout rate, as many times as the configuration says."""
        super().__init__()
        self.causal = causal
        self.positions = nn.Parameter(torch.empty(config.max_len, config.width))
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(block(config.width, config.heads, config.dropout) for _ in range(config.blocks))
        self.final_norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.positions, std=0.02)
        initialise_linear(self.blocks)

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return states, float [B, T, d], meaningless at padding.

        Args:
            vectors: float [B, T, d] of the items, T <= max_len.
            lengths: int64 [B], items in each history.
        """
        # Padding is on the right, where causal attention from an item never reaches it.
        mask = None
        if not self.causal:
            columns = torch.arange(vectors.shape[1], device=vectors.device)
            mask = (columns < lengths[:, None].clamp_min(1))[:, None, None]  # [B, 1, 1, T]
        return self.states(vectors, Padded(lengths, mask))

    def states(self, vectors: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """Return states, float [..., d].

        Args:
            vectors: float [..., d] of the items.
            sequences: how the items lie; attention is as it says.
        """
        states = sequences.drop(self.dropout, sequences.add_positions(vectors, self.positions))
        for block in self.blocks:
            states = block(states, sequences)
        normal: torch.Tensor = self.final_norm(states)
        return normal
