"""The kernels between matrix products against their NumPy twins, and the parts of a block against torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tslrec_min.recommenders.models import _packed, packed
from tslrec_min.recommenders.models.dropout import Dropout

from ... import _reference as reference

pytestmark = pytest.mark.kernel


def numbers(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(1, 70), st.sampled_from([0.01, 1.0, 30.0]), st.integers(1, 3))
def test_layer_norm_is_its_reference(rows: int, width: int, scale: float, threads: int) -> None:
    x, weight, bias = numbers(rows, width, scale=scale) + 3, numbers(width, seed=1), numbers(width, seed=2)
    out, statistics = np.full_like(x, np.nan), np.full((rows, 2), np.nan, np.float32)
    _packed.layer_norm(x, weight, bias, 1e-5, out, statistics, threads)
    wanted = reference.layer_norm(*(part.astype(np.float64) for part in (x, weight, bias)), 1e-5)
    np.testing.assert_allclose(out, wanted, atol=3e-4 if scale < 1 else 2e-5, rtol=1e-4)
    np.testing.assert_allclose(statistics[:, 0], x.mean(axis=1), rtol=1e-5, atol=1e-5)


def test_gelu_is_its_reference_everywhere() -> None:
    x = np.concatenate([np.linspace(-40, 40, 4001), [0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30]]).astype(np.float32)[None]
    out = np.empty_like(x)
    _packed.gelu(x, np.zeros(x.shape[1], np.float32), out, 1)
    np.testing.assert_allclose(out, reference.gelu(x.astype(np.float64)), atol=5e-7, rtol=3e-7)
    leaf = torch.from_numpy(x).double().requires_grad_()
    F.gelu(leaf).sum().backward()
    gradient, again, sums = np.ones_like(x), np.empty_like(x), np.zeros_like(x)
    _packed.gelu_gradient(gradient, x, np.zeros(x.shape[1], np.float32), again, sums)
    np.testing.assert_allclose(gradient, leaf.grad, atol=5e-7, rtol=1e-6)
    np.testing.assert_array_equal(again, out)
    np.testing.assert_array_equal(sums, gradient)
    _packed.gelu(np.full_like(x, np.nan), np.zeros(x.shape[1], np.float32), out, 1)
    assert np.isnan(out).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 20), st.integers(0, 2**64 - 1),
       st.sampled_from([0.0, 0.1, 0.95]), st.integers(1, 3))
def test_tokens_draw_what_their_padded_row_does(lengths: list[int], width: int, key: int, rate: float,
                                                threads: int) -> None:
    rows = [7 * row + 2**33 for row in range(len(lengths))]
    padded = numbers(len(lengths), max(lengths) * width)
    whole = reference.dropped(padded, key, rows, rate).reshape(len(lengths), -1, width)
    real = np.arange(max(lengths)) < np.array(lengths)[:, None]
    owners, positions = map(np.ascontiguousarray, np.nonzero(real))
    values = np.ascontiguousarray(padded.reshape(whole.shape)[real])
    draws = np.array(rows)[owners], positions, key, round(rate * 2**32), 1 / (1 - rate)
    out = np.full_like(values, np.nan)
    _packed.drop(values, out, *draws, threads)
    np.testing.assert_array_equal(out, whole[real])
    states, bias, added, sums = numbers(*values.shape, seed=1), numbers(width), np.empty_like(out), np.zeros((2, width))
    _packed.drop_add(values - bias, bias, states, added, *draws, threads)
    np.testing.assert_allclose(added, states + out, atol=1e-5)
    sums = sums.astype(np.float32)
    _packed.drop_gradient(values, added, *draws, sums)
    np.testing.assert_array_equal(added, out)
    np.testing.assert_allclose(sums.sum(axis=0), out.sum(axis=0), atol=1e-4)


def gradients(call: Callable[[list[torch.Tensor]], torch.Tensor], tensors: list[torch.Tensor], dtype: torch.dtype
              ) -> list[torch.Tensor]:
    """Return the output and the gradients by the tensors of a weighted sum of it."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    out = call(leaves)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), leaves)]


class Draws:
    """Dropout of a fixed mask in torch, as `packed` draws it."""

    def __init__(self, count: int, width: int) -> None:
        self.layer = Dropout(0.3).train()
        self.layer.key, rows = 5, np.arange(count)
        self.draws = packed.draws_of(self.layer, rows, rows % 3)
        self.mask = packed.drop(torch.ones(count, width), self.draws)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(1, 20), st.integers(1, 30), st.integers(1, 3), st.sampled_from([64, 1 << 16]))
def test_parts_of_a_block_are_torchs(count: int, width: int, inner: int, threads: int, slice_numbers: int) -> None:
    random = torch.Generator().manual_seed(count)
    states, inputs, norm_weight, norm_bias, first, first_bias, second, second_bias = (
        torch.randn(shape, generator=random) for shape in (
            (count, width), (count, inner), (width,), (width,), (inner, width), (inner,), (width, inner), (width,)))
    drawn, eps = Draws(count, width), nn.LayerNorm(1).eps

    def norm_linear(of: list[torch.Tensor]) -> torch.Tensor:
        return F.linear(F.layer_norm(of[0], (width,), of[1], of[2]), of[3], of[4])

    def add_linear(of: list[torch.Tensor]) -> torch.Tensor:
        return of[0] + F.linear(of[1], of[2], of[3]) * drawn.mask

    def add_feed_forward(of: list[torch.Tensor]) -> torch.Tensor:
        inside = F.gelu(F.linear(F.layer_norm(of[0], (width,), of[1], of[2]), of[3], of[4]))
        return of[0] + F.linear(inside, of[5], of[6]) * drawn.mask

    cases = (
        (norm_linear, [states, norm_weight, norm_bias, first, first_bias],
         lambda of: packed._NormLinear.apply(*of[:3], eps, *of[3:])),
        (add_linear, [states, inputs, second, second_bias], lambda of: packed._AddLinear.apply(*of, drawn.draws)),
        (add_feed_forward, [states, norm_weight, norm_bias, first, first_bias, second, second_bias],
         lambda of: packed._AddFeedForward.apply(*of[:3], eps, *of[3:], drawn.draws)))
    before, slices = torch.get_num_threads(), packed._SLICE_NUMBERS
    try:
        torch.set_num_threads(threads)
        packed._SLICE_NUMBERS = slice_numbers
        for plain, tensors, kernel in cases:
            wanted = gradients(plain, tensors, torch.float64)
            for found, exact in zip(gradients(kernel, tensors, torch.float32), wanted, strict=True):
                scale = max(1.0, float(exact.abs().max())) if exact.numel() else 1.0
                torch.testing.assert_close(found / scale, (exact / scale).float(), atol=1e-4 if width < 3 else 3e-5,
                                           rtol=1e-4)
    finally:
        torch.set_num_threads(before)
        packed._SLICE_NUMBERS = slices
