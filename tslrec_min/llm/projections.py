"""Matrix products of a decoder layer and the functions before them, for training LoRA in little memory.

    product     [T, in] -> [T, out]     f(x) W^T + bias + scaling * (f(x) A^T) B^T

f is an RMS norm, the gated activation or the identity. W and bias are frozen, A [R, in] and B [out, R] are LoRA's. Only
x is kept for the backward pass, which computes f(x) again; projections that read the same x (query, key and value; gate
and up) are one product. Tests compare states and gradients with those of transformers' modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from .elementwise import gated_gradient, gated_values, rms_norm, rms_norm_gradient, rms_norm_values
from .lora import LoraLinear

GEMMA = "gemma3_text"
"""`model_type` of transformers' configuration of Gemma 3."""

_ROWS = 32  # bfloat16 products on a CPU have a multiple of this number of rows


class ProductBuffers:
    """Memory for tensors that live during one product, shared by all products.

    The forward pass keeps nearly all other tensors. Short-lived ones between them would leave holes that the C library
    can't reuse for aligned tensors of that size, which costs a third more memory.
    """

    def __init__(self) -> None:
        self._memory: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}

    def take(self, use: str, like: torch.Tensor, width: int) -> torch.Tensor:
        """Return [T, width], with the dtype and device of `like` [T, any]; the next call for that use overwrites it."""
        return self._take(use, len(like), width, like.dtype, like.device)

    def _take(self, use: str, rows: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        size, key = rows * width, (use, dtype, device)
        memory = self._memory.get(key)
        if memory is None or memory.numel() < size:
            with torch.inference_mode(False):  # a training step could not write to an inference tensor
                memory = self._memory[key] = torch.empty(size, dtype=dtype, device=device)
        return memory[:size].view(rows, width)

    def cast(self, use: str, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return float [T, width] in another dtype, padded with rows of zeros; unchanged if it has that dtype."""
        if values.dtype == dtype:
            return values
        memory = self._take(use, _padded(len(values)), values.shape[1], dtype, values.device)
        memory[:len(values)].copy_(values)
        memory[len(values):].zero_()
        return memory


def _padded(rows: int) -> int:
    """Round a number of rows up, to one of four values between powers of two.

    oneDNN, torch's library for bfloat16 products, compiles and keeps a kernel of 400 KB for each number of rows.
    """
    step = max(_ROWS, 1 << max(0, (rows - 1).bit_length() - 3))
    return -(-rows // step) * step


class Norm:
    """RMS norm with a frozen weight."""

    def __init__(self, module: Any, config: Any) -> None:
        self.weight, self.eps = module.weight.detach(), config.rms_norm_eps
        if config.model_type == GEMMA:  # it stores the weight minus 1
            self.weight = 1 + self.weight.float()
        if self.weight.device.type == "cpu":
            self.weight = self.weight.float()

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return the norm of `states`, float [T, D], with a graph."""
        return rms_norm(states, self.weight, self.eps)

    def values(self, states: torch.Tensor, buffers: ProductBuffers) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the norm of `states`, float [T, D], without a graph, and its inverse RMS, float [T]."""
        return rms_norm_values(states, self.weight, self.eps, buffers.take("function", states, states.shape[1]))

    def gradient(self, d_out: torch.Tensor, states: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        """Return the gradient by `states`, float [T, D].

        Args:
            d_out: gradient by the output, float [T, D].
            states, inverse: the input of `values` and its second output.
        """
        return rms_norm_gradient(d_out, states, self.weight, inverse)


class Gate:
    """The gated activation."""

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def values(self, gate_up: torch.Tensor, buffers: ProductBuffers) -> tuple[torch.Tensor, None]:
        """Return act(gate) * up for `gate_up`, float [T, 2F]; `gradient` needs nothing else."""
        room = buffers.take("function", gate_up, gate_up.shape[1] // 2)
        return gated_values(gate_up, self.activation, room), None

    def gradient(self, d_out: torch.Tensor, gate_up: torch.Tensor, _: None) -> torch.Tensor:
        """Return the gradient by `gate_up`; arguments as for `Norm.gradient`."""
        return gated_gradient(d_out, gate_up, self.activation)


class _Product(torch.autograd.Function):
    """f(x) W^T + bias + (f(x) A^T) B^T for a frozen W; the backward pass computes f(x) again.

    LoRA reads f(x) with `dropout`. If x and W differ in dtype, the products have W's and their rows are padded.
    """

    @staticmethod
    def forward(ctx, before, buffers, states, weight, bias, down, up, dropout):  # type: ignore[no-untyped-def] # torch's
        mixed = states.dtype != weight.dtype
        inputs, cache = before.values(states, buffers) if before else (states, None)
        inputs = buffers.cast("inputs", inputs, weight.dtype)
        keep = F.dropout(torch.ones_like(inputs), dropout) if dropout else None  # a mask, scaled
        out = buffers.take("out", inputs, len(weight)) if mixed else None
        if bias is None:
            out = torch.mm(inputs, weight.T, out=out)
        else:
            out = torch.addmm(bias, inputs, weight.T, out=out)
        low = None
        if down is not None:
            low = (inputs if keep is None else inputs * keep) @ down.T  # [T, R]
            out.addmm_(low, up.T)
        ctx.before, ctx.buffers = before, buffers
        ctx.save_for_backward(states, cache, weight, down, up, low, keep)
        return out[:len(states)].to(states.dtype) if mixed else out

    @staticmethod
    def backward(ctx, d_out):  # type: ignore[no-untyped-def]
        states, cache, weight, down, up, low, keep = ctx.saved_tensors
        d_down = d_up = d_states = d_low = None
        d_out = ctx.buffers.cast("out", d_out, weight.dtype)
        if down is not None:
            inputs = ctx.before.values(states, ctx.buffers)[0] if ctx.before else states
            inputs = ctx.buffers.cast("inputs", inputs, weight.dtype)
            d_low = d_out @ up  # [T, R]
            d_up = (low.T @ d_out).T  # twice as fast as d_out.T @ low
            d_down = d_low.T @ (inputs if keep is None else inputs * keep)
            del inputs
        if ctx.needs_input_grad[2]:
            mixed = states.dtype != weight.dtype
            out = ctx.buffers.take("inputs", d_out, weight.shape[1]) if mixed else None
            d_inputs = torch.mm(d_out, weight, out=out)
            if down is not None and keep is None:
                d_inputs.addmm_(d_low, down)
            elif down is not None:
                d_inputs += (d_low @ down) * keep
            d_states = d_inputs[:len(states)].to(states.dtype)
            if ctx.before:
                d_states = ctx.before.gradient(d_states, states, cache)
        return None, None, d_states, None, None, d_down, d_up, None


class Projection:
    """Linear layers that read the same input, as one product; LoRA's dropout draws one mask for all of them."""

    def __init__(self, layers: Sequence[Any], before: Norm | Gate | None, buffers: ProductBuffers) -> None:
        self.before, self.buffers = before, buffers
        self.lora = [layer for layer in layers if isinstance(layer, LoraLinear)]
        self.dropout = max((layer.dropout.p for layer in self.lora), default=0.0)
        bases = [layer.base if isinstance(layer, LoraLinear) else layer for layer in layers]
        self.weight: torch.Tensor = bases[0].weight.detach()
        if len(bases) > 1:
            self.weight = torch.cat([base.weight.detach() for base in bases])  # [sum of outs, in]
            begin = 0
            for base in bases:
                base.weight.data = self.weight[begin:begin + base.out_features]
                begin += base.out_features
        self.bias = None
        if bases[0].bias is not None:
            self.bias = torch.cat([base.bias.detach() for base in bases])
        self._blocks = [layer.weight.new_zeros(layer.out_features, 0, dtype=torch.float32)
                        if layer is base else layer for layer, base in zip(layers, bases, strict=True)]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return [T, sum of outs]."""
        down = up = None
        if self.lora:
            down = torch.cat([layer.lora_A for layer in self.lora]).to(self.weight.dtype)  # [R, in]
            up = torch.block_diag(*(part.scaling * part.lora_B if isinstance(part, LoraLinear) else part
                                    for part in self._blocks)).to(self.weight.dtype)  # [sum of outs, R]
        dropout = self.dropout if torch.is_grad_enabled() else 0.0
        out: torch.Tensor = _Product.apply(self.before, self.buffers, states, self.weight, self.bias, down, up, dropout)
        return out
