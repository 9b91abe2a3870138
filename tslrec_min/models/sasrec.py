"""SASRec (Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, arXiv 1808.09781).

The blocks are *pre-norm*, as in GPT-2 (Radford et al., 2019): ``x + f(LayerNorm(x))`` for attention and
feed-forward alike, and a LayerNorm after the last block. The paper's equation is ``x + Dropout(f(LayerNorm(x)))``
too, but its published code normalises only the queries. Departures from the paper: the feed-forward layer is GELU
with four times the width (the paper: ReLU, same width), item embeddings are not scaled by sqrt(d) as in the paper's
code (in single-seed trials with the full-softmax loss on MovieLens-100K it went with a lower validation NDCG@10), and
the loss is chosen elsewhere (the paper: BCE with one negative). Attention weights have no dropout of their own:
drawing it costs a tenth of the training time.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class _Block(nn.Module):
    """Pre-norm causal self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, length, width = states.shape
        mixed = self.query_key_value(self.attention_norm(states))
        query, key, value = mixed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, d/H]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(batch, length, width)  # [B, T, d]
        states = states + self.dropout(self.attention_output(attended))
        return states + self.dropout(self.feed_forward(self.feed_forward_norm(states)))


class SASRec(nn.Module):
    """Causal self-attention over left-padded item histories with learned positions."""

    def __init__(self, width: int, blocks: int, heads: int, dropout: float, max_len: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(max_len, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(blocks))
        self.final_norm = nn.LayerNorm(width)
        nn.init.normal_(self.positions, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, inputs: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return states, float [B, T, d]; those of padded positions mean nothing.

        Args:
            inputs: int64 [B, T], left-padded, T <= max_len. Positions count from the right end, so that the
                most recent item always has the same one.
            item_table: float [I+1, d].
        """
        length = inputs.shape[1]
        states = self.dropout(F.embedding(inputs, item_table) + self.positions[-length:])
        causal = torch.ones(length, length, dtype=torch.bool, device=inputs.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=inputs.device)
        # A padded position sees itself alone: a row without any key would be NaN.
        mask = (causal & (inputs != 0)[:, None, :]) | itself
        for block in self.blocks:
            states = block(states, mask[:, None])
        return self.final_norm(states)
