"""Dropout whose draws are a function of (seed, step, place in the network, row of the batch, element).

On a CPU torch draws dropout masks from a sequential generator, which took a quarter of SASRec's training time. Here
each draw is a hash, computed again in the backward pass: no mask is stored, draws don't depend on the number of threads
or of processes that share a batch, and resuming needs no generator state. Other devices use torch's own dropout.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...runtime.validation import as_int64, check_length, threads_for
from ._dropout import drop_rows

_WORD = 2**32
_THREAD_ELEMENTS = 1 << 17
"""Minimum number of elements per thread: some tenths of a millisecond's work."""


class _Drop(torch.autograd.Function):
    """The kernel as a differentiable function; forward and backward are the same linear map."""

    @staticmethod
    def forward(ctx, values, rate, key, rows):  # type: ignore[no-untyped-def] # torch fixes the signature
        ctx.arguments = rate, key, rows
        return _dropped(values, rate, key, rows)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return _dropped(gradient, *ctx.arguments), None, None, None


def _dropped(values: torch.Tensor, rate: float, key: int, rows: np.ndarray) -> torch.Tensor:
    values = values.contiguous()
    out = torch.empty_like(values)
    shape = len(values), math.prod(values.shape[1:])
    drop_rows(values.detach().numpy().reshape(shape), out.numpy().reshape(shape), rows, key,
              round(rate * _WORD), 1 / (1 - rate),
              threads_for(values.numel(), torch.get_num_threads(), _THREAD_ELEMENTS))
    return out


class Dropout(nn.Module):
    """Drops elements of float [B, ...] in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate}; expected at least 0 and less than 1")
        self.rate = rate
        self.key = 0
        """Of the layer and the step, in 0..2**64 - 1; see `set_dropout`."""
        self.rows: np.ndarray | None = None
        """Numbers of the rows in the whole batch, int64 [B]; None: 0..B - 1."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return `values`, float [B, ...], as float32, zeroed with probability `rate`, else divided by 1 - rate."""
        if not self.training or not self.rate:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.rate)
        rows = np.arange(len(values)) if self.rows is None else as_int64("rows", self.rows)
        check_length("rows", rows, len(values), "row of the values")
        dropped: torch.Tensor = _Drop.apply(values.float(), self.rate, self.key, rows)
        return dropped


def set_dropout(module: nn.Module, seed: int, step: int, rows: np.ndarray) -> None:
    """Set the key of every dropout layer of `module` for a training step, and the rows of the batch."""
    layers = [layer for layer in module.modules() if isinstance(layer, Dropout)]
    for place, layer in enumerate(layers):
        layer.key = ((seed * 0x9E3779B97F4A7C15) ^ (step * len(layers) + place)) % 2**64
        layer.rows = np.ascontiguousarray(rows, dtype=np.int64)
