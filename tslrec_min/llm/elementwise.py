"""RMSNorm, gated units and rotary positions, each in one pass over memory, forward and backward.

    rms_norm  states [..., D]  ->  states / sqrt(mean(states**2) + eps) * weight
    gated     gate, up [T, F]  ->  activation(gate) * up
    rotated   heads [T, H, hd] ->  heads * cos + (minus right half, left half) * sin

In torch each is several operations, each of which reads and writes its whole tensor. The formulas are those of
transformers' Llama, Qwen2, Qwen3 and Gemma 3. Backward passes compute intermediate values again from the inputs.

Float32 tensors on a CPU go to the kernels of csrc/llm_elementwise.h, whose results don't depend on the number of
threads. Others go to the torch functions below (`torch_rotated` ...), which compute in float32 or float64 and return
the dtype they were given. The reference of both is `tests/_reference.py` in float64.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..runtime.validation import threads_for
from . import _llm_kernels

_GELU = 2 * math.sqrt(2 / math.pi)
_SIGMOID_OF = {"silu": (1.0, 0.0), "gelu_tanh": (_GELU, 0.044715 * _GELU)}
"""a and b of activations in the form x * sigmoid(a * x + b * x**3); for GELU, (1 + tanh(u)) / 2 = sigmoid(2 * u)."""

_THREAD_ELEMENTS = 1 << 18
"""Elements per thread, a tenth of a millisecond's work; fewer are not worth waking a thread."""


def rms_norm(states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Return states / sqrt(mean(states**2) + eps) * weight, float [..., D].

    Args:
        states: float [..., D].
        weight: float [D], frozen: it gets no gradient. For Gemma pass 1 + the stored weight.
        eps: added to the mean.
    """
    if not for_kernels(states, weight):
        return _torch_rms_norm(states, weight.detach(), eps)
    out: torch.Tensor = _RmsNorm.apply(states, weight, eps)
    return out


def rms_norm_values(states: torch.Tensor, weight: torch.Tensor, eps: float, room: torch.Tensor | None = None
                    ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `rms_norm` without a graph, and 1 / sqrt(mean(states**2) + eps), float [rows], for its gradient.

    Args:
        states, weight, eps: see `rms_norm`.
        room: the output, contiguous with the shape of `states`, if a kernel computes it; None: a new tensor.
    """
    _check_norm(states, weight)
    if not for_kernels(states, weight):
        with torch.no_grad():
            return _torch_rms_norm(states, weight, eps), _inverse_rms(_widened(states), eps).flatten()
    rows = _rows(states)
    out, inverse_rms = _output(states, states.shape, room), rows.new_empty(len(rows))
    _llm_kernels.rms_norm(as_array(rows), as_array(weight.contiguous()), eps, as_array(_rows(out)),
                          as_array(inverse_rms), _threads(rows))
    return out, inverse_rms


def rms_norm_gradient(d_out: torch.Tensor, states: torch.Tensor, weight: torch.Tensor,
                      inverse_rms: torch.Tensor) -> torch.Tensor:
    """Return the gradient by `states`, float [..., D].

    Args:
        d_out: gradient by the output of `rms_norm`, float [..., D].
        states, weight: see `rms_norm`.
        inverse_rms: float [rows], from `rms_norm_values`.
    """
    _check_norm(states, weight)
    check_shape("d_out", d_out, states.shape)
    if not for_kernels(d_out, states, weight, inverse_rms):
        inverse = inverse_rms.view(*states.shape[:-1], 1)
        unit, pulled = _widened(states) * inverse, _widened(d_out) * weight
        return ((pulled - unit * (pulled * unit).mean(-1, keepdim=True)) * inverse).to(states.dtype)
    rows = _rows(states)
    check_shape("inverse_rms", inverse_rms, rows.shape[:1])
    d_states = torch.empty_like(rows)
    _llm_kernels.rms_norm_gradient(as_array(_rows(d_out)), as_array(rows), as_array(weight.contiguous()),
                                   as_array(inverse_rms), as_array(d_states), _threads(rows))
    return d_states.view(states.shape)


def gated_values(gate_up: torch.Tensor, activation: str, room: torch.Tensor | None = None) -> torch.Tensor:
    """Return activation(gate) * up, float [T, F], without a graph.

    Args:
        gate_up: float [T, 2F], the gate first.
        activation: "silu" or "gelu_tanh" (what transformers calls "gelu_pytorch_tanh").
        room: the output, contiguous [T, F], if a kernel computes it; None: a new tensor.
    """
    _check_gated(gate_up, activation)
    if not for_kernels(gate_up):
        with torch.no_grad():
            return _torch_gated(gate_up, activation)
    gate_up = gate_up.contiguous()
    out = _output(gate_up, (len(gate_up), gate_up.shape[1] // 2), room)
    _llm_kernels.gated(as_array(gate_up), *_SIGMOID_OF[activation], as_array(out), _threads(out))
    return out


def gated_gradient(d_out: torch.Tensor, gate_up: torch.Tensor, activation: str) -> torch.Tensor:
    """Return the gradient by `gate_up`, float [T, 2F].

    Args:
        d_out: gradient by the output of `gated_values`, float [T, F].
        gate_up, activation: see `gated_values`.
    """
    _check_gated(gate_up, activation)
    check_shape("d_out", d_out, (len(gate_up), gate_up.shape[1] // 2))
    if not for_kernels(d_out, gate_up):
        with torch.enable_grad():
            leaf = gate_up.detach().requires_grad_()
            return torch.autograd.grad(_torch_gated(leaf, activation), leaf, d_out)[0]
    d_out, gate_up = d_out.contiguous(), gate_up.contiguous()
    d_gate_up = torch.empty_like(gate_up)
    _llm_kernels.gated_gradient(as_array(d_out), as_array(gate_up), *_SIGMOID_OF[activation], as_array(d_gate_up),
                                _threads(gate_up))
    return d_gate_up


def rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, inverse: bool = False) -> torch.Tensor:
    """Return float [T, H, hd] with the pairs (x[j], x[j + hd / 2]) of each head rotated by the row's angles; no graph.

    Args:
        heads: float [T, H, hd]; may be a part of a product [T, total], its rows `total` apart.
        cos, sin: float [T, hd], of the angles as transformers gives them: the right half repeats the left one.
        inverse: rotate back, which is also the gradient.
    """
    if heads.dim() != 3 or heads.shape[2] % 2:
        raise ValueError(f"heads has shape {tuple(heads.shape)}; expected [T, H, hd], hd even")
    for name, values in (("cos", cos), ("sin", sin)):
        check_shape(name, values, (heads.shape[0], heads.shape[2]))
    if not for_kernels(heads, cos, sin):
        with torch.no_grad():
            return torch_rotated(heads, cos, -sin if inverse else sin)
    if heads.stride(2) != 1:
        heads = heads.contiguous()
    out = heads.new_empty(heads.shape)
    _llm_kernels.rotated(as_array(heads), as_array(cos.contiguous()), as_array(sin.contiguous()),
                         -1.0 if inverse else 1.0, as_array(out), _threads(out))
    return out


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, weight, eps):  # type: ignore[no-untyped-def] # torch fixes the signature
        out, inverse_rms = rms_norm_values(states, weight, eps)
        ctx.save_for_backward(states, weight, inverse_rms)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return rms_norm_gradient(gradient, *ctx.saved_tensors), None, None


def _torch_rms_norm(states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = _widened(states)
    unit = wide * _inverse_rms(wide, eps)
    if weight.dtype != states.dtype:  # Gemma's, in float32: rounded once, at the end
        return (weight * unit).to(states.dtype)
    return weight * unit.to(states.dtype)


def _inverse_rms(wide: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)


def _torch_gated(gate_up: torch.Tensor, activation: str) -> torch.Tensor:
    gate, up = _widened(gate_up).chunk(2, dim=-1)
    active = F.silu(gate) if activation == "silu" else F.gelu(gate, approximate="tanh")
    return (active * up).to(gate_up.dtype)


def torch_rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return `rotated` by torch's operations, for any dtype and with a graph; arguments as for `rotated`."""
    half = heads.shape[-1] // 2
    first, second = _widened(heads).split(half, dim=-1)
    cos, sin = cos[:, None, :half], sin[:, None, :half]  # [T, 1, hd / 2]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(heads.dtype)


def _widened(values: torch.Tensor) -> torch.Tensor:
    """Return the values in float32, or in float64 if they are float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def for_kernels(*tensors: torch.Tensor) -> bool:
    """Return whether all are float32 on a CPU."""
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)


def _threads(values: torch.Tensor) -> int:
    return threads_for(values.numel(), torch.get_num_threads(), _THREAD_ELEMENTS)


def as_array(values: torch.Tensor) -> np.ndarray:
    """Return the memory of `values` as an array."""
    return values.detach().numpy()


def _rows(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(values.shape[:-1].numel(), values.shape[-1])  # [rows, D]


def _output(like: torch.Tensor, shape: tuple[int, ...], room: torch.Tensor | None) -> torch.Tensor:
    """Return the tensor to write to: `room`, or a new one."""
    if room is None:
        return like.new_empty(shape)
    if room.shape != shape or not room.is_contiguous() or not for_kernels(room):
        raise ValueError(f"room is {room.dtype} of shape {tuple(room.shape)}; expected contiguous float32 of shape "
                         f"{tuple(shape)} on the CPU")
    return room


def _check_norm(states: torch.Tensor, weight: torch.Tensor) -> None:
    if not states.dim():
        raise ValueError("states has no dimension; expected [..., D]")
    check_shape("weight", weight, states.shape[-1:])


def _check_gated(gate_up: torch.Tensor, activation: str) -> None:
    if activation not in _SIGMOID_OF:
        raise ValueError(f"activation is {activation!r}; expected one of {', '.join(_SIGMOID_OF)}")
    if gate_up.dim() != 2 or gate_up.shape[1] % 2:
        raise ValueError(f"gate_up has shape {tuple(gate_up.shape)}; expected [T, 2F], gate and up of equal width")


def check_shape(name: str, values: torch.Tensor, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless `values` has the expected shape."""
    if values.shape != expected:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected {tuple(expected)}")
