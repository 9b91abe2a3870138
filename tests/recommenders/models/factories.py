"""What several test files build or ask alike."""

from __future__ import annotations

import math

import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.recommenders.models.backbone import Backbone
from tslrec_min.recommenders.models.transformer import Transformer

CONFIG = TrainConfig(width=16, blocks=2, heads=2, units=12, max_len=6, dropout=0.5)


def build(kind: type[Backbone]) -> Backbone:
    torch.manual_seed(0)
    model = kind(CONFIG).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch(*rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    return (torch.tensor([row + [0] * (width - len(row)) for row in rows]), torch.tensor([len(row) for row in rows]))


def literal_transformer(model: Transformer, vectors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The pre-norm blocks written out for one history, one head and one position at a time."""
    count, width = len(vectors), len(vectors[0])
    x = [vectors[p] + model.positions[p - count] for p in range(count)]
    for block in model.blocks:
        y = [block.query_key_value(block.attention_norm(x[p])) for p in range(count)]
        size, after = width // block.heads, []
        for p in range(count):
            seen, heads = range(p + 1) if model.causal else range(count), []
            for h in range(block.heads):
                q, k, v = ([state[of * width + h * size:of * width + (h + 1) * size] for state in y] for of in range(3))
                weights = torch.softmax(torch.stack([q[p] @ k[j] / math.sqrt(size) for j in seen]), dim=0)
                heads.append(sum(w * v[j] for w, j in zip(weights, seen, strict=True)))
            after.append(x[p] + block.attention_output(torch.cat(heads)))
        x = [state + block.feed_forward(block.feed_forward_norm(state)) for state in after]
    return [model.final_norm(state) for state in x]
