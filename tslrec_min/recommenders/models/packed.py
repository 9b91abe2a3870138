"""The parts of a block on packed sequences: all tokens of a batch below each other, without padding.

    norm_linear       [N, D] -> LayerNorm(states) W^T + b
    add               [N, D] -> states + Dropout(values)
    add_linear        [N, D] -> states + Dropout(inputs W^T + b)
    add_feed_forward  [N, D] -> states + Dropout(GELU(states W1^T + b1) W2^T + b2)

The feed-forward layer may read LayerNorm(states), as in a pre-norm block; each sum may pass through a LayerNorm, as in
a post-norm block.

All are for float32 on a CPU. Each runs in slices of so few tokens that a slice's intermediate values stay in a cache
between the matrix products, which are torch's, and the kernels, which `packed_rows` calls.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from .packed_rows import Draws, Norm, Plain, Sum, dropped, gelu, gelu_gradient, parts_of, sums_of

_SLICE_NUMBERS = 1 << 18
"""Numbers of the widest intermediate value in a slice. Smaller ones fit a nearer cache, but calls cost time."""


def drop(values: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Return `values`, float32 [N, n], with elements dropped."""
    out: torch.Tensor = _Drop.apply(values, draws)
    return out


def norm_linear(states: torch.Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> torch.Tensor:
    """Return linear(norm(states)), float32 [N, n], of states, float32 [N, D]."""
    out: torch.Tensor = _NormLinear.apply(states, linear.weight, linear.bias, *parts_of(norm))
    return out


def add(states: torch.Tensor, values: torch.Tensor, draws: Draws, norm: nn.LayerNorm | None) -> torch.Tensor:
    """Return norm(states + dropout(values)), float32 [N, D].

    Args:
        states, values: float32 [N, D].
        draws: of the dropout layer.
        norm: the layer after the sum; None: none.
    """
    out: torch.Tensor = _Add.apply(states, values, draws, *parts_of(norm))
    return out


def add_linear(states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, draws: Draws, norm: nn.LayerNorm | None
               ) -> torch.Tensor:
    """Return norm(states + dropout(linear(inputs))), float32 [N, D].

    Args:
        states: float32 [N, D].
        linear: from n to D features.
        inputs: float32 [N, n].
        draws: of the dropout layer.
        norm: the layer after the sum; None: none.
    """
    out: torch.Tensor = _AddLinear.apply(states, inputs, linear.weight, linear.bias, draws, *parts_of(norm))
    return out


def add_feed_forward(states: torch.Tensor, first: nn.Linear, second: nn.Linear, draws: Draws,
                     before: nn.LayerNorm | None, after: nn.LayerNorm | None) -> torch.Tensor:
    """Return after(states + dropout(second(GELU(first(before(states)))))), float32 [N, D].

    Args:
        states: float32 [N, D].
        first, second: the layers.
        draws: of the dropout layer.
        before, after: LayerNorms; None: none.
    """
    out: torch.Tensor = _AddFeedForward.apply(states, first.weight, first.bias, second.weight, second.bias, draws,
                                              *parts_of(before), *parts_of(after))
    return out


class _Drop(torch.autograd.Function):
    """Forward and backward are the same linear map."""

    @staticmethod
    def forward(ctx, values, draws):  # type: ignore[no-untyped-def] # torch fixes the signature
        ctx.draws = draws
        return dropped(values, draws)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return _Drop.apply(gradient, ctx.draws), None


class _NormLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, weight, bias, *norm):  # type: ignore[no-untyped-def]
        ctx.norm, out = Norm(states.contiguous(), *norm), torch.empty(len(states), len(weight))
        for part in _slices(len(states), len(weight)):
            torch.addmm(bias, ctx.norm.forward(part), weight.T, out=out[part])
        ctx.save_for_backward(weight)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        weight, = ctx.saved_tensors
        norm, gradient, d_weight = ctx.norm.cleared(), gradient.contiguous(), torch.zeros_like(weight)
        for part in _slices(len(gradient), len(weight)):
            d_weight.addmm_(gradient[part].T, norm.forward(part))
            norm.backward(part, gradient[part] @ weight)
        d_states, *d_norm = norm.gradients()
        return d_states, d_weight, gradient.sum(0), *d_norm


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, values, draws, *norm):  # type: ignore[no-untyped-def]
        states, values, out = states.contiguous(), values.contiguous(), torch.empty(states.shape)
        ctx.sum = Sum(states, torch.zeros(states.shape[1]), draws, norm)
        ctx.sum.forward(slice(0, len(states)), states, values, out)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        added = ctx.sum.cleared(gradient)
        d_values = added.backward(slice(0, len(gradient)))
        return added.d_states, d_values, None, *added.gradients()[1:]


class _AddLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, inputs, weight, bias, draws, *norm):  # type: ignore[no-untyped-def]
        states, inputs = states.contiguous(), inputs.contiguous()
        ctx.sum, out = Sum(states, bias, draws, norm), torch.empty_like(states)
        for part in _slices(len(states), inputs.shape[1]):
            ctx.sum.forward(part, states, inputs[part] @ weight.T, out)
        ctx.save_for_backward(inputs, weight)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        inputs, weight = ctx.saved_tensors
        added, d_inputs, d_weight = ctx.sum.cleared(gradient), torch.empty_like(inputs), torch.zeros_like(weight)
        for part in _slices(len(inputs), inputs.shape[1]):
            d_values = added.backward(part)
            d_weight.addmm_(d_values.T, inputs[part])
            torch.mm(d_values, weight, out=d_inputs[part])
        d_bias, *d_norm = added.gradients()
        return added.d_states, d_inputs, d_weight, d_bias, None, *d_norm


class _AddFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, first, first_bias, second, second_bias, draws, *norms):  # type: ignore[no-untyped-def]
        states = states.contiguous()
        ctx.norm = Plain(states) if norms[0] is None else Norm(states, *norms[:3])
        ctx.sum, out = Sum(states, second_bias, draws, norms[3:]), torch.empty_like(states)
        hidden = torch.empty(len(states), len(first))  # without its bias
        for part in _slices(len(states), len(first)):
            torch.mm(ctx.norm.forward(part), first.T, out=hidden[part])
            ctx.sum.forward(part, states, gelu(hidden[part], first_bias) @ second.T, out)
        ctx.save_for_backward(hidden, first, first_bias, second)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        hidden, first, first_bias, second = ctx.saved_tensors
        norm, added = ctx.norm.cleared(), ctx.sum.cleared(gradient)
        d_first, d_second, sums = torch.zeros_like(first), torch.zeros_like(second), sums_of(len(first))
        for part in _slices(len(gradient), len(first)):
            d_values = added.backward(part)
            d_hidden = d_values @ second
            active = gelu_gradient(d_hidden, hidden[part], first_bias, sums)
            d_second.addmm_(d_values.T, active)
            d_first.addmm_(d_hidden.T, norm.forward(part))
            norm.backward(part, d_hidden @ first, added.d_states[part])
        d_states, *d_before = norm.gradients()
        d_bias, *d_after = added.gradients()
        return d_states, d_first, sums.sum(0), d_second, d_bias, None, *d_before, *d_after


def _slices(n_tokens: int, widest: int) -> Iterator[slice]:
    """Yield slices of the tokens whose widest value has `widest` numbers a token; at least one, if there is none."""
    size = max(1, _SLICE_NUMBERS * torch.get_num_threads() // widest)
    for start in range(0, max(n_tokens, 1), size):
        yield slice(start, min(start + size, n_tokens))
