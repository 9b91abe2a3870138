from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tslrec_min.recommenders.models.ligr import LiGRBlock
from tslrec_min.recommenders.models.sasrec import SASRec
from tslrec_min.recommenders.models.sequences import Padded

from .factories import batch, build

TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


def literal_block(block: LiGRBlock, x: torch.Tensor) -> torch.Tensor:
    """The block of one history, float [T, d], by torch's own attention and one matrix for each of its parts."""
    width = x.shape[1]
    attention = nn.MultiheadAttention(width, block.heads)
    attention.load_state_dict({
        "in_proj_weight": block.query_key_value.weight, "in_proj_bias": block.query_key_value.bias,
        "out_proj.weight": block.attention_output.weight, "out_proj.bias": block.attention_output.bias})
    later = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    y = F.layer_norm(x, (width,), block.attention_norm.weight, block.attention_norm.bias)
    y, _ = attention(y, y, y, attn_mask=later)
    gate = 1 / (1 + torch.exp(-(x @ block.attention_gate.weight.T + block.attention_gate.bias)))
    x = x + gate * y
    y = F.layer_norm(x, (width,), block.feed_forward_norm.weight, block.feed_forward_norm.bias)
    first, second = block.feed_forward_input.weight.split(4 * width)
    a, b = y @ first.T, y @ second.T
    y = (a / (1 + torch.exp(-a)) * b) @ block.feed_forward_output.weight.T
    gate = 1 / (1 + torch.exp(-(x @ block.feed_forward_gate.weight.T + block.feed_forward_gate.bias)))
    return x + gate * y


def test_sasrec_with_ligr_is_its_literal_restatement() -> None:
    model = build(SASRec, block="ligr")
    items, lengths = batch([3, 5, 1], [1, 2, 3, 4, 5], [9])
    found, transformer = model(items, lengths, TABLE), model.transformer
    for row, length, states in zip(items, lengths, found, strict=True):
        x = TABLE[row[:length]] + transformer.positions[-length:]
        for block in transformer.blocks:
            x = literal_block(block, x)
        torch.testing.assert_close(states[:length], transformer.final_norm(x), atol=1e-5, rtol=1e-4)


def test_a_closed_gate_keeps_the_input_and_an_open_one_adds_all() -> None:
    torch.manual_seed(0)
    block, x, sequences = LiGRBlock(8, 2, 0.0), torch.randn(1, 4, 8), Padded(torch.tensor([4]))
    for layer in (block.attention_gate, block.feed_forward_gate):
        nn.init.constant_(layer.bias, -100.0)
    torch.testing.assert_close(block(x, sequences), x)
    nn.init.constant_(block.feed_forward_gate.bias, 100.0)
    activated, linear = block.feed_forward_input(block.feed_forward_norm(x)).chunk(2, dim=-1)
    torch.testing.assert_close(block(x, sequences), x + block.feed_forward_output(F.silu(activated) * linear))
