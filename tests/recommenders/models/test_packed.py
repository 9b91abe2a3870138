"""The parts of a block against torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tslrec_min.recommenders.models import packed
from tslrec_min.recommenders.models.dropout import Dropout
from tslrec_min.recommenders.models.packed_rows import draws_of

pytestmark = pytest.mark.kernel


def gradients(call: Callable[[list[torch.Tensor]], torch.Tensor], tensors: list[torch.Tensor], dtype: torch.dtype
              ) -> list[torch.Tensor]:
    """Return the output and the gradients by the tensors of a weighted sum of it."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    out = call(leaves)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), leaves)]


def _error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest difference, as a share of the largest number (of 1, if that is smaller)."""
    if not exact.numel():
        return 0.0
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=1.0))


class Draws:
    """Dropout of a fixed mask in torch, as `packed` draws it."""

    def __init__(self, count: int, width: int) -> None:
        self.layer = Dropout(0.3).train()
        self.layer.key, rows = 5, np.arange(count)
        self.draws = draws_of(self.layer, rows, rows % 3)
        self.mask = packed.drop(torch.ones(count, width), self.draws)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(1, 20), st.integers(1, 30), st.integers(1, 3), st.sampled_from([64, 1 << 16]),
       st.booleans(), st.booleans())
def test_parts_of_a_block_are_torchs(count: int, width: int, inner: int, threads: int, slice_numbers: int,
                                     has_before: bool, has_after: bool) -> None:
    random = torch.Generator().manual_seed(count)
    states, values, inputs, first, first_bias, second, second_bias, *norm_parts = (
        torch.randn(shape, generator=random) for shape in (
            (count, width), (count, width), (count, inner), (inner, width), (inner,), (width, inner), (width,),
            *[(width,)] * 4))
    drawn, eps = Draws(count, width), 1e-5
    before, after = norm_parts[:2 * has_before], norm_parts[2:2 + 2 * has_after]

    def norm(x: torch.Tensor, parts: list[torch.Tensor]) -> torch.Tensor:
        return F.layer_norm(x, (width,), *parts, eps) if parts else x

    def parts(given: list[torch.Tensor]) -> tuple[torch.Tensor | None, torch.Tensor | None, float]:
        return (*given, eps) if given else (None, None, 0.0)

    def add_feed_forward(of: list[torch.Tensor]) -> torch.Tensor:
        inside = F.gelu(F.linear(norm(of[0], of[5:5 + 2 * has_before]), of[1], of[2]))
        return norm(of[0] + F.linear(inside, of[3], of[4]) * drawn.mask, of[5 + 2 * has_before:])

    cases = (
        (lambda of: F.linear(norm(of[0], of[3:]), of[1], of[2]), [states, first, first_bias, *norm_parts[:2]],
         lambda of: packed._NormLinear.apply(*of, eps)),
        (lambda of: norm(of[0] + of[1] * drawn.mask, of[2:]), [states, values, *after],
         lambda of: packed._Add.apply(*of[:2], drawn.draws, *parts(of[2:]))),
        (lambda of: norm(of[0] + F.linear(of[1], of[2], of[3]) * drawn.mask, of[4:]),
         [states, inputs, second, second_bias, *after],
         lambda of: packed._AddLinear.apply(*of[:4], drawn.draws, *parts(of[4:]))),
        (add_feed_forward, [states, first, first_bias, second, second_bias, *before, *after],
         lambda of: packed._AddFeedForward.apply(*of[:5], drawn.draws, *parts(of[5:5 + 2 * has_before]),
                                                 *parts(of[5 + 2 * has_before:]))))
    threads_before, slices = torch.get_num_threads(), packed._SLICE_NUMBERS
    try:
        torch.set_num_threads(threads)
        packed._SLICE_NUMBERS = slice_numbers
        for plain, tensors, kernel in cases:
            wanted = gradients(plain, tensors, torch.float64)
            # A row of equal numbers has hardly a norm, and its gradient loses digits: in torch's float32 as well.
            lost = max(_error(found, exact) for found, exact
                       in zip(gradients(plain, tensors, torch.float32), wanted, strict=True))
            for found, exact in zip(gradients(kernel, tensors, torch.float32), wanted, strict=True):
                assert _error(found, exact) <= 3e-5 + 8 * lost
    finally:
        torch.set_num_threads(threads_before)
        packed._SLICE_NUMBERS = slices
