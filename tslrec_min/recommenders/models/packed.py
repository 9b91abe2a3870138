"""The parts of a pre-norm block on packed sequences: all tokens of a batch below each other, without padding.

    norm_linear       [N, D] -> LayerNorm(states) W^T + b
    add_linear        [N, D] -> states + Dropout(inputs W^T + b)
    add_feed_forward  [N, D] -> states + Dropout(GELU(LayerNorm(states) W1^T + b1) W2^T + b2)

They are for float32 on a CPU. Each runs in slices of so few tokens that a slice's intermediate values stay in a cache
between the matrix products, which are torch's, and the kernels of csrc/transformer_step.h. The backward pass computes
normalised states, GELU and dropout masks again. Sums over tokens, and so the gradients of weights, depend on torch's
number of threads by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from ...runtime.validation import threads_for
from ._packed import drop as drop_values
from ._packed import drop_add, drop_gradient, gelu, gelu_gradient, layer_norm, layer_norm_gradient
from .dropout import Dropout

_SLICE_NUMBERS = 1 << 18
"""Numbers of the widest intermediate value in a slice. Smaller ones fit a nearer cache, but calls cost time."""
_THREAD_NUMBERS = 1 << 15
"""Minimum per thread: some hundredths of a millisecond's work."""


@dataclass(frozen=True)
class Draws:
    """Of one dropout layer, for N tokens."""

    rows: np.ndarray
    """int64 [N], the row of each token in the whole batch."""
    positions: np.ndarray
    """int64 [N], its position in the row, from 0."""
    key: int
    """Of the layer and the step."""
    threshold: int
    """The rate in units of 2**-32."""
    scale: float
    """Factor of what is kept."""

    def of(self, part: slice) -> tuple[np.ndarray, np.ndarray, int, int, float]:
        """Return the kernels' arguments for some of the tokens."""
        return self.rows[part], self.positions[part], self.key, self.threshold, self.scale


def drop(values: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Return `values`, float32 [N, n], with elements dropped."""
    dropped: torch.Tensor = _Drop.apply(values, draws)
    return dropped


def norm_linear(states: torch.Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> torch.Tensor:
    """Return linear(norm(states)), float32 [N, n], of states, float32 [N, D]."""
    out: torch.Tensor = _NormLinear.apply(states, norm.weight, norm.bias, norm.eps, linear.weight, linear.bias)
    return out


def add_linear(states: torch.Tensor, linear: nn.Linear, inputs: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Return states + dropout(linear(inputs)), float32 [N, D].

    Args:
        states: float32 [N, D].
        linear: from n to D features.
        inputs: float32 [N, n].
        draws: of the dropout layer.
    """
    out: torch.Tensor = _AddLinear.apply(states, inputs, linear.weight, linear.bias, draws)
    return out


def add_feed_forward(states: torch.Tensor, norm: nn.LayerNorm, first: nn.Linear, second: nn.Linear,
                     draws: Draws) -> torch.Tensor:
    """Return states + dropout(second(GELU(first(norm(states))))), float32 [N, D].

    Args:
        states: float32 [N, D].
        norm, first, second: the layers.
        draws: of the dropout layer.
    """
    out: torch.Tensor = _AddFeedForward.apply(states, norm.weight, norm.bias, norm.eps, first.weight, first.bias,
                                              second.weight, second.bias, draws)
    return out


def draws_of(dropout: Dropout, owners: np.ndarray, positions: np.ndarray) -> Draws:
    """Return what a layer draws for tokens: nothing is dropped outside training.

    Args:
        dropout: the layer.
        owners: int64 [N], the row of each token in the layer's batch.
        positions: int64 [N], its position in the row.
    """
    rate = dropout.rate if dropout.training else 0.0
    rows = owners if dropout.rows is None else dropout.rows[owners]
    return Draws(rows, positions, dropout.key, round(rate * 2**32), 1 / (1 - rate))


class _Drop(torch.autograd.Function):
    """Forward and backward are the same linear map."""

    @staticmethod
    def forward(ctx, values, draws):  # type: ignore[no-untyped-def] # torch fixes the signature
        ctx.draws = draws
        values, out = values.contiguous(), torch.empty(values.shape)
        drop_values(_array(values), _array(out), *draws.of(slice(None)), _threads(values))
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return _Drop.apply(gradient, ctx.draws), None


class _NormLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, norm_weight, norm_bias, eps, weight, bias):  # type: ignore[no-untyped-def]
        states = states.contiguous()
        norm = _Norm(states, norm_weight, norm_bias, eps)
        out = torch.empty(len(states), len(weight))
        for part in _slices(len(states), len(weight)):
            torch.addmm(bias, norm.forward(part), weight.T, out=out[part])
        ctx.norm = norm
        ctx.save_for_backward(weight)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        weight, = ctx.saved_tensors
        norm, gradient = ctx.norm.cleared(), gradient.contiguous()
        d_weight = torch.zeros_like(weight)
        for part in _slices(len(gradient), len(weight)):
            d_weight.addmm_(gradient[part].T, norm.forward(part))
            norm.backward(part, gradient[part] @ weight)
        return *norm.gradients(), None, d_weight, gradient.sum(0)


class _AddLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, inputs, weight, bias, draws):  # type: ignore[no-untyped-def]
        states, inputs = states.contiguous(), inputs.contiguous()
        out = torch.empty_like(states)
        for part in _slices(len(states), inputs.shape[1]):
            drop_add(_array(inputs[part] @ weight.T), _array(bias), _array(states[part]), _array(out[part]),
                             *draws.of(part), _threads(states[part]))
        ctx.draws = draws
        ctx.save_for_backward(inputs, weight)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        inputs, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        d_inputs, d_weight, sums = torch.empty_like(inputs), torch.zeros_like(weight), _sums(len(weight))
        for part in _slices(len(inputs), inputs.shape[1]):
            dropped = torch.empty_like(gradient[part])
            drop_gradient(_array(gradient[part]), _array(dropped), *ctx.draws.of(part), _shared(sums, dropped))
            d_weight.addmm_(dropped.T, inputs[part])
            torch.mm(dropped, weight, out=d_inputs[part])
        return gradient, d_inputs, d_weight, sums.sum(0), None


class _AddFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, norm_weight, norm_bias, eps, first, first_bias, second, second_bias,  # type: ignore
                draws):
        states = states.contiguous()
        norm, out = _Norm(states, norm_weight, norm_bias, eps), torch.empty_like(states)
        hidden = torch.empty(len(states), len(first))  # without its bias
        for part in _slices(len(states), len(first)):
            torch.mm(norm.forward(part), first.T, out=hidden[part])
            active = torch.empty_like(hidden[part])
            gelu(_array(hidden[part]), _array(first_bias), _array(active), _threads(active))
            drop_add(_array(active @ second.T), _array(second_bias), _array(states[part]), _array(out[part]),
                             *draws.of(part), _threads(states[part]))
        ctx.norm, ctx.draws = norm, draws
        ctx.save_for_backward(hidden, first, first_bias, second)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        hidden, first, first_bias, second = ctx.saved_tensors
        norm, gradient = ctx.norm.cleared(), gradient.contiguous()
        d_first, d_second = torch.zeros_like(first), torch.zeros_like(second)
        first_sums, second_sums = _sums(len(first)), _sums(len(second))
        for part in _slices(len(gradient), len(first)):
            dropped, active = torch.empty_like(gradient[part]), torch.empty_like(hidden[part])
            drop_gradient(_array(gradient[part]), _array(dropped), *ctx.draws.of(part),
                                  _shared(second_sums, dropped))
            d_hidden = dropped @ second
            gelu_gradient(_array(d_hidden), _array(hidden[part]), _array(first_bias), _array(active),
                                  _shared(first_sums, active))
            d_second.addmm_(dropped.T, active)
            d_first.addmm_(d_hidden.T, norm.forward(part))
            norm.backward(part, d_hidden @ first, gradient[part])
        return *norm.gradients(), None, d_first, first_sums.sum(0), d_second, second_sums.sum(0), None


class _Norm:
    """The LayerNorm of one call, and its gradients slice by slice."""

    def __init__(self, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
        self.states, self.weight, self.bias, self.eps = states.detach(), weight.detach(), bias.detach(), eps
        self.statistics = torch.empty(len(states), 2)

    def cleared(self) -> _Norm:
        """Return itself, with room for the gradients of one backward pass."""
        self.d_states, self.sums = torch.empty_like(self.states), _sums(2, len(self.weight))
        return self

    def forward(self, part: slice) -> torch.Tensor:
        states = self.states[part]
        out = torch.empty_like(states)
        layer_norm(_array(states), _array(self.weight), _array(self.bias), self.eps, _array(out),
                           _array(self.statistics[part]), _threads(states))
        return out

    def backward(self, part: slice, gradient: torch.Tensor, past: torch.Tensor | None = None) -> None:
        past = torch.zeros_like(gradient) if past is None else past
        layer_norm_gradient(_array(gradient), _array(self.states[part]), _array(self.weight),
                                    _array(self.statistics[part]), _array(past), _array(self.d_states[part]),
                                    _shared(self.sums, gradient))

    def gradients(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        d_weight, d_bias = self.sums.sum(0)
        return self.d_states, d_weight, d_bias


def _slices(n_tokens: int, widest: int) -> Iterator[slice]:
    """Yield slices of the tokens whose widest value has `widest` numbers a token; at least one, if there is none."""
    size = max(1, _SLICE_NUMBERS * torch.get_num_threads() // widest)
    for start in range(0, max(n_tokens, 1), size):
        yield slice(start, min(start + size, n_tokens))


def _sums(*shape: int) -> torch.Tensor:
    """Return zeros for each thread's sums over tokens."""
    return torch.zeros(torch.get_num_threads(), *shape)


def _shared(sums: torch.Tensor, values: torch.Tensor) -> np.ndarray:
    """Return the sums of as many threads as work on `values`."""
    return _array(sums[:_threads(values)])


def _threads(values: torch.Tensor) -> int:
    return threads_for(values.numel(), torch.get_num_threads(), _THREAD_NUMBERS)


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().numpy()
