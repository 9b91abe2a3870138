"""What a block of packed sequences does between its matrix products, a slice of its tokens at a time.

    drop   Dropout(values)
    gelu   GELU(values + bias)
    Norm   LayerNorm(states)
    Sum    states + Dropout(values + bias), and the LayerNorm after it in a post-norm block

Backward passes compute normalised states, GELU and dropout masks again. The kernels are those of
csrc/transformer_step.h. Their sums over tokens, and so the gradients of weights, depend on torch's number of threads by
rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...llm.elementwise import as_array
from ...runtime.validation import threads_for
from ._packed import drop as drop_values
from ._packed import drop_add, drop_gradient, layer_norm, layer_norm_gradient
from ._packed import gelu as gelu_values
from ._packed import gelu_gradient as gelu_values_gradient
from .dropout import Dropout

_THREAD_NUMBERS = 1 << 15
"""Minimum per thread: some hundredths of a millisecond's work."""

Parts = tuple[torch.Tensor | None, torch.Tensor | None, float]
"""Weight, bias and eps of a LayerNorm; no weight: there is none."""


def parts_of(norm: nn.LayerNorm | None) -> Parts:
    """Return the parts of a layer."""
    return (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)


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


def dropped(values: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Return `values`, float32 [N, n], with elements dropped."""
    values, out = values.contiguous(), torch.empty(values.shape)
    drop_values(as_array(values), as_array(out), *draws.of(slice(None)), _threads(values))
    return out


def gelu(values: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return GELU(values + bias), float32 [N, F].

    Args:
        values: float32 [N, F], contiguous.
        bias: float32 [F].
    """
    out = torch.empty_like(values)
    gelu_values(as_array(values), as_array(bias), as_array(out), _threads(values))
    return out


def gelu_gradient(gradient: torch.Tensor, values: torch.Tensor, bias: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    """Turn the gradient by `gelu`'s output into that by its values, in place, and return the output again.

    Args:
        gradient, values: float32 [N, F], contiguous.
        bias: float32 [F].
        sums: float32 [threads, F] of `sums_of`, to which the gradient by the bias is added.
    """
    out = torch.empty_like(values)
    gelu_values_gradient(as_array(gradient), as_array(values), as_array(bias), as_array(out), _shared(sums, values))
    return out


class Norm:
    """The LayerNorm of one call, and its gradients slice by slice."""

    def __init__(self, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
        """Take the layer's parts and its input, float32 [N, D], which may be filled in later."""
        self.states, self.weight, self.bias, self.eps = states.detach(), weight.detach(), bias.detach(), eps
        self.statistics = torch.empty(len(states), 2)

    def cleared(self) -> Norm:
        """Return itself, with room for the gradients of one backward pass."""
        self.d_states, self.sums = torch.empty_like(self.states), sums_of(2, len(self.weight))
        return self

    def forward(self, part: slice, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the output for a slice of tokens, float32 [n, D], in `out` if it is given."""
        states = self.states[part]
        out = torch.empty_like(states) if out is None else out
        layer_norm(as_array(states), as_array(self.weight), as_array(self.bias), self.eps, as_array(out),
                   as_array(self.statistics[part]), _threads(states))
        return out

    def backward(self, part: slice, gradient: torch.Tensor, past: torch.Tensor | None = None) -> None:
        """Fill a slice of `d_states`.

        Args:
            part: the slice, of n tokens.
            gradient: by the output, float32 [n, D].
            past: float32 [n, D], the gradient by the states that doesn't pass through the norm; None: zeros.
        """
        past = torch.zeros_like(gradient) if past is None else past
        layer_norm_gradient(as_array(gradient), as_array(self.states[part]), as_array(self.weight),
                            as_array(self.statistics[part]), as_array(past), as_array(self.d_states[part]),
                            _shared(self.sums, gradient))

    def gradients(self) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients by the states and by the parts."""
        return self.d_states, *self.sums.sum(0), None


class Plain:
    """The states themselves, with the methods of a `Norm` that does nothing."""

    def __init__(self, states: torch.Tensor) -> None:
        """Take the states, float32 [N, D]."""
        self.states = states.detach()

    def cleared(self) -> Plain:
        """Return itself, with room for the gradients of one backward pass."""
        self.d_states = torch.empty_like(self.states)
        return self

    def forward(self, part: slice) -> torch.Tensor:
        """Return a slice of the states, float32 [n, D]."""
        return self.states[part]

    def backward(self, part: slice, gradient: torch.Tensor, past: torch.Tensor) -> None:
        """Fill a slice of `d_states`; arguments as for `Norm.backward`."""
        torch.add(gradient, past, out=self.d_states[part])

    def gradients(self) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients by the states and by the parts."""
        return self.d_states, None, None, None


class Sum:
    """The sum of states and dropped values, through a LayerNorm if there is one; and its gradients slice by slice."""

    def __init__(self, states: torch.Tensor, bias: torch.Tensor, draws: Draws, norm: Parts) -> None:
        """Take the parts of one call; of the states, float32 [N, D], only their shape is kept.

        Args:
            states: float32 [N, D].
            bias: float32 [D], of the values.
            draws: of the dropout layer.
            norm: the layer after the sum.
        """
        self.bias, self.draws, (weight, norm_bias, eps) = bias.detach(), draws, norm
        self.norm = None if weight is None or norm_bias is None else Norm(torch.empty_like(states), weight, norm_bias,
                                                                          eps)

    def forward(self, part: slice, states: torch.Tensor, values: torch.Tensor, out: torch.Tensor) -> None:
        """Fill a slice of the output.

        Args:
            part: the slice, of n tokens.
            states: float32 [N, D].
            values: float32 [n, D], without their bias.
            out: float32 [N, D].
        """
        sums = out if self.norm is None else self.norm.states
        drop_add(as_array(values), as_array(self.bias), as_array(states[part]), as_array(sums[part]),
                 *self.draws.of(part), _threads(values))
        if self.norm is not None:
            self.norm.forward(part, out[part])

    def cleared(self, gradient: torch.Tensor) -> Sum:
        """Return itself, for one backward pass from the gradient by the output, float32 [N, D]."""
        self.gradient, self.bias_sums = gradient.contiguous(), sums_of(len(self.bias))
        self.d_states = self.gradient if self.norm is None else self.norm.cleared().d_states
        return self

    def backward(self, part: slice) -> torch.Tensor:
        """Fill a slice of `d_states`, and return the gradient by its values, float32 [n, D]."""
        if self.norm is not None:
            self.norm.backward(part, self.gradient[part])
        d_values = torch.empty_like(self.d_states[part])
        drop_gradient(as_array(self.d_states[part]), as_array(d_values), *self.draws.of(part),
                      _shared(self.bias_sums, d_values))
        return d_values

    def gradients(self) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients by the bias and by the parts of the norm."""
        return self.bias_sums.sum(0), *((None, None, None) if self.norm is None else self.norm.gradients()[1:])


def sums_of(*shape: int) -> torch.Tensor:
    """Return zeros for each thread's sums over tokens, float32 [threads, ...]."""
    return torch.zeros(torch.get_num_threads(), *shape)


def _shared(sums: torch.Tensor, values: torch.Tensor) -> np.ndarray:
    """Return the sums of as many threads as work on `values`."""
    return as_array(sums[:_threads(values)])


def _threads(values: torch.Tensor) -> int:
    return threads_for(values.numel(), torch.get_num_threads(), _THREAD_NUMBERS)
