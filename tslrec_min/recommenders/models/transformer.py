"""The transformer that SASRec and BERT4Rec share: blocks over right-padded histories, and a LayerNorm after the last.

The usual block is *pre-norm*, as in GPT-2 (Radford et al., 2019): ``x + f(LayerNorm(x))`` for attention and
feed-forward alike. The feed-forward layer uses GELU and four times the width. Attention weights have no dropout:
drawing it costs a tenth of the training time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .dropout import Dropout


def attend(query_key_value: torch.Tensor, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the heads' weighted means of the values side by side, float [B, T, d].

    Args:
        query_key_value: float [B, T, 3 d], queries, keys and values.
        heads: number of attention heads, a divisor of d.
        mask: bool [B, 1, 1, T], true where a position may be attended to; None: causal attention.
    """
    batch, length, width = query_key_value.shape
    query, key, value = query_key_value.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, d/H]
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
    return attended.transpose(1, 2).reshape(batch, length, width // 3)


def add_positions(vectors: torch.Tensor, lengths: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return vectors plus positions, float [B, T, d].

    Args:
        vectors: float [B, T, d] of the items, T <= P.
        lengths: int64 [B], items in each history.
        positions: float [P, d]. They count from the end of a history, so that its last item always has the last one.
    """
    columns = torch.arange(vectors.shape[1], device=vectors.device)
    places = (columns + (len(positions) - lengths[:, None])).clamp_max(len(positions) - 1)  # [B, T]
    return vectors + F.embedding(places, positions)


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

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the next states, float [B, T, d].

        Args:
            states: float [B, T, d].
            mask: see `attend`.
        """
        attended = attend(self.query_key_value(self.attention_norm(states)), self.heads, mask)
        states = states + self.attention_dropout(self.attention_output(attended))
        return states + self.feed_forward_dropout(self.feed_forward(self.feed_forward_norm(states)))


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
        states = self.dropout(add_positions(vectors, lengths, self.positions))
        # Padding is on the right, where causal attention from an item never reaches it.
        mask = None
        if not self.causal:
            columns = torch.arange(vectors.shape[1], device=vectors.device)
            mask = (columns < lengths[:, None].clamp_min(1))[:, None, None]  # [B, 1, 1, T]
        for block in self.blocks:
            states = block(states, mask)
        return self.final_norm(states)
