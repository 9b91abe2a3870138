"""A causal filter along packed sequences, with a number per column that says how much of the rest is kept.

    low[t] = sum over lags l of weights[l] * states[t - l], within each sequence
    out    = low + keep * (states - low)

It is for float32 on a CPU. The filter is the product of a lower-triangular matrix, constant along its diagonals, with
the rows of each sequence; the kernel of csrc/filter_isa.h computes the half that isn't zero. Its results don't depend
on the number of threads.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ...llm.elementwise import as_array, check_shape
from ...runtime.validation import Int64Array, check_range, threads_for
from ._causal_filter import PADDING, causal_filter_gradient, instruction_sets, workspace_size
from ._causal_filter import causal_filter as filter_rows

_THREAD_PRODUCTS = 1 << 21
"""Products per thread, a tenth of a millisecond's work; fewer are not worth waking a thread."""

_ISA = len(instruction_sets()) - 1
"""The kernel's instruction set, an index of instruction_sets(): the fastest that this CPU has."""


def causal_filter(states: torch.Tensor, weights: torch.Tensor, keep: torch.Tensor, lengths: Int64Array
                  ) -> torch.Tensor:
    """Return low + keep * (states - low), float32 [N, D].

    Args:
        states: float32 [N, D] on a CPU, one sequence after the other.
        weights: float32 [P] of the lags 0..P - 1; it gets no gradient.
        keep: float32 [D].
        lengths: int64 [B], the number of tokens of each sequence, 1..P; together N.

    Raises:
        ValueError: the shapes don't agree, or a sequence is longer than the filter.
    """
    check_range("lengths", lengths, 1, len(weights))
    check_shape("states", states, (int(lengths.sum()), len(keep)))
    out: torch.Tensor = _CausalFilter.apply(states, weights, keep, lengths)
    return out


class _CausalFilter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, weights, keep, lengths):  # type: ignore[no-untyped-def] # torch fixes the signature
        states, keep, out = states.contiguous(), keep.contiguous(), torch.empty(states.shape)
        if states.numel():
            padded = np.pad(as_array(weights), PADDING)
            ctx.arguments = padded, as_array(keep), np.cumsum(lengths) - lengths, lengths
            filter_rows(as_array(states), *ctx.arguments, as_array(out), _workspace(states, lengths), _ISA)
        ctx.save_for_backward(states, keep)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        states, keep = ctx.saved_tensors
        if not states.numel():
            return gradient, None, torch.zeros_like(keep), None
        lengths, d_states = ctx.arguments[-1], torch.empty_like(states)
        d_keep = states.new_empty(len(lengths), states.shape[1])
        causal_filter_gradient(as_array(gradient.contiguous()), as_array(states), *ctx.arguments, as_array(d_states),
                               as_array(d_keep), _workspace(states, lengths), _ISA)
        return d_states, None, d_keep.sum(0), None


def _workspace(states: torch.Tensor, lengths: Int64Array) -> np.ndarray:
    """Return the kernel's work space: float32 [threads, numbers]."""
    longest, width = int(lengths.max()), states.shape[1]
    threads = threads_for(int((lengths * lengths).sum()) * width // 2, torch.get_num_threads(), _THREAD_PRODUCTS)
    return np.empty((threads, workspace_size(_ISA, longest, width)), np.float32)
