"""What several test files build or ask alike."""

from __future__ import annotations

import numpy as np
import torch

from tslrec_min.llm.elementwise import rotated


def normal(*shape, seed=0, spread=1.0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape) * spread).float()


def angles(rows, half):
    found = normal(rows, half, seed=9, spread=3.0)
    found = torch.cat([found, found], dim=-1)
    return found.cos(), found.sin()


def same(found, wide, terms=1.0):
    """Float32 equals what the definition gives in float64, to 1e-5 of the value or a rounding of the largest one.

    `terms`: the largest of the numbers that were added up; where they cancel, their roundings stay.
    """
    wide = torch.as_tensor(wide)
    assert found.dtype == torch.float32 and found.shape == wide.shape and found.is_contiguous()
    atol = 1e-6 * max(1.0, terms, wide.abs().max().item()) if wide.numel() else 0
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=atol)


def gradient_of(function, at, d_out):
    at = at.detach().requires_grad_()
    return torch.autograd.grad(function(at), at, d_out)[0]


class _Rotated(torch.autograd.Function):
    """With a graph: turning back is the gradient."""

    @staticmethod
    def forward(ctx, heads, cos, sin):
        ctx.save_for_backward(cos, sin)
        return rotated(heads, cos, sin)

    @staticmethod
    def backward(ctx, d_out):
        return rotated(d_out, *ctx.saved_tensors, inverse=True), None, None


def wide_rotated(cos, sin):
    def function(x):
        left, right = x.chunk(2, dim=-1)
        return x * cos[:, None] + torch.cat([-right, left], dim=-1) * sin[:, None]
    return function
