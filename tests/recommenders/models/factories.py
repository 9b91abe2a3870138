"""What several test files build or ask alike."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.recommenders.models.backbone import Backbone
from tslrec_min.recommenders.models.transformer import Transformer

CONFIG = TrainConfig(width=16, blocks=2, heads=2, units=12, max_len=6, dropout=0.5)


def build(kind: type[Backbone], **settings: Any) -> Backbone:
    torch.manual_seed(0)
    model = kind(replace(CONFIG, **settings)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch(*rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    return (torch.tensor([row + [0] * (width - len(row)) for row in rows]), torch.tensor([len(row) for row in rows]))


def literal_attention(query_key_value: torch.Tensor, heads: int, *, causal: bool = True) -> torch.Tensor:
    """Attention of one history, [T, 3 d] -> [T, d], one head and one position at a time."""
    count, width = len(query_key_value), query_key_value.shape[1] // 3
    size, rows = width // heads, []
    for p in range(count):
        seen, parts = p + 1 if causal else count, []
        for h in range(heads):
            q, k, v = (query_key_value[:, of * width + h * size:of * width + (h + 1) * size] for of in range(3))
            weights = torch.softmax(torch.stack([q[p] @ k[j] / math.sqrt(size) for j in range(seen)]), dim=0)
            parts.append(sum(w * v[j] for j, w in enumerate(weights)))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def literal_transformer(model: Transformer, vectors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The pre-norm blocks written out for one history, one position at a time."""
    count = len(vectors)
    x = [vectors[p] + model.positions[p - count] for p in range(count)]
    for block in model.blocks:
        y = torch.stack([block.query_key_value(block.attention_norm(state)) for state in x])
        attended = literal_attention(y, block.heads, causal=model.causal)
        after = [state + block.attention_output(row) for state, row in zip(x, attended, strict=True)]
        x = [state + block.feed_forward(block.feed_forward_norm(state)) for state in after]
    return [model.final_norm(state) for state in x]
