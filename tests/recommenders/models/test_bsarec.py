from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tslrec_min.configs import TrainConfig
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.models.bsarec import BSARec, BSARecBlock, causal_low_pass
from tslrec_min.recommenders.models.sequences import Padded

from .factories import batch, build, literal_attention

TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


def norm(layer: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return layer.weight * centred / torch.sqrt(centred.square().mean(dim=-1, keepdim=True) + 1e-12) + layer.bias


def literal_last_state(block: BSARecBlock, x: torch.Tensor, max_len: int, cut: int) -> torch.Tensor:
    """The state after the last item, [d], of one history [n, d] as its authors compute it, but for zeros as padding.

    The whole window, padded on the left to `max_len` rows, is transformed.
    """
    window = torch.cat([torch.zeros(max_len - len(x), x.shape[1]), x])
    spectrum = torch.fft.rfft(window, dim=0, norm="ortho")
    kept = torch.where(torch.arange(len(spectrum))[:, None] <= cut // 2, spectrum, 0)
    low = torch.fft.irfft(kept, n=max_len, dim=0, norm="ortho")
    filtered = norm(block.filter_norm, window + low + block.beta.square() * (window - low))[-1]
    attended = block.attention_output(literal_attention(block.query_key_value(x), block.heads))
    attended = norm(block.attention_norm, x + attended)[-1]
    mixed = block.alpha * filtered + (1 - block.alpha) * attended
    return norm(block.feed_forward_norm, mixed + block.feed_forward(mixed))


@pytest.mark.parametrize(("max_len", "cut"), [(6, 3), (7, 5), (12, 1), (12, 4), (50, 5)])
def test_a_block_gives_every_prefix_what_the_transform_of_its_padded_window_gives(max_len: int, cut: int) -> None:
    model = build(BSARec, max_len=max_len, blocks=1, frequency_cut=cut, bsarec_alpha=0.3)
    block, x = model.blocks[0], torch.randn(max_len, 16)
    found = block(x[None], Padded(torch.tensor([max_len])), model.low_pass)[0]
    for length in range(1, max_len + 1):
        wanted = literal_last_state(block, x[:length], max_len, cut)
        torch.testing.assert_close(found[length - 1], wanted, atol=1e-5, rtol=1e-4)
        short = block(x[None, :length], Padded(torch.tensor([length])), model.low_pass[:length, :length])[0, -1]
        torch.testing.assert_close(short, found[length - 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("blocks", [1, 2])
def test_bsarec_is_its_literal_restatement(blocks: int) -> None:
    model = build(BSARec, blocks=blocks, frequency_cut=3)
    items, lengths = batch([3, 5, 1], [1, 2, 3, 4, 5, 6], [9])
    found = model(items, lengths, TABLE)
    for row, length, states in zip(items, lengths, found, strict=True):
        x = norm(model.input_norm, TABLE[row[:length]] + model.positions[-length:])
        for block in model.blocks:
            x = torch.stack([literal_last_state(block, x[:n + 1], 6, 3) for n in range(length)])
        torch.testing.assert_close(states[:length], x, atol=1e-5, rtol=1e-4)


def test_no_position_reads_a_later_one() -> None:
    model = build(BSARec, max_len=8, blocks=3)
    x = torch.randn(1, 8, 16, requires_grad=True)
    states = x
    for block in model.blocks:
        states = block(states, Padded(torch.tensor([8])), model.low_pass)
    for place in range(8):
        gradient, = torch.autograd.grad(states[0, place].square().sum(), x, retain_graph=True)
        assert gradient[0, :place + 1].any(dim=1).all() and not gradient[0, place + 1:].any()


def test_the_low_pass_filter_keeps_slow_waves_of_a_full_window_and_removes_fast_ones() -> None:
    max_len = 20
    last, steps = causal_low_pass(max_len, 5)[-1], torch.arange(max_len) * 2 * torch.pi / max_len
    for frequency in range(max_len // 2 + 1):
        wave = torch.cos(frequency * steps + 0.4)
        torch.testing.assert_close(last @ wave, wave[-1] if frequency <= 2 else torch.tensor(0.0), atol=1e-5, rtol=1e-5)
    assert torch.equal(causal_low_pass(max_len, 4), causal_low_pass(max_len, 5))


def test_a_filter_that_keeps_everything_is_refused() -> None:
    config = TrainConfig(model="bsarec", max_len=6)
    for max_len, cut in ((5, 5), (4, 4), (50, 50), (1, 1)):
        with pytest.raises(TslrecError, match=f"--frequency-cut {cut} keeps all frequencies of --max-len {max_len}"):
            replace(config, max_len=max_len, frequency_cut=cut)
    assert replace(config, model="sasrec", max_len=5).frequency_cut == 5  # nothing reads it
