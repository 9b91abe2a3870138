"""The transformer that SASRec and BERT4Rec share: pre-norm blocks over right-padded histories.

*Pre-norm*, as in GPT-2 (Radford et al., 2019): ``x + f(LayerNorm(x))`` for attention and feed-forward alike, and a
LayerNorm after the last block. The feed-forward layer uses GELU and four times the width. Attention weights have no
dropout: drawing it costs a tenth of the training time.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ...configs import TrainConfig
from .dropout import Dropout


class _Block(nn.Module):
    """Self-attention and feed-forward."""

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
        batch, length, width = states.shape
        mixed = self.query_key_value(self.attention_norm(states))
        query, key, value = mixed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, d/H]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        attended = attended.transpose(1, 2).reshape(batch, length, width)  # [B, T, d]
        states = states + self.attention_dropout(self.attention_output(attended))
        return states + self.feed_forward_dropout(self.feed_forward(self.feed_forward_norm(states)))


class Transformer(nn.Module):
    """Learned positions and blocks of attention, causal or in both directions."""

    def __init__(self, config: TrainConfig, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.positions = nn.Parameter(torch.empty(config.max_len, config.width))
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config.width, config.heads, config.dropout) for _ in range(config.blocks))
        self.final_norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.positions, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return states, float [B, T, d], meaningless at padding.

        Args:
            vectors: float [B, T, d] of the items, T <= max_len. Positions count from the end of a history, so that the
                most recent item always has the same one.
            lengths: int64 [B].
        """
        columns = torch.arange(vectors.shape[1], device=vectors.device)
        places = (columns + (len(self.positions) - lengths[:, None])).clamp_max(len(self.positions) - 1)  # [B, T]
        states = self.dropout(vectors + F.embedding(places, self.positions))
        # Padding is on the right, where causal attention from an item never reaches it.
        mask = None if self.causal else (columns < lengths[:, None].clamp_min(1))[:, None, None]  # [B, 1, 1, T]
        for block in self.blocks:
            states = block(states, mask)
        return self.final_norm(states)
