"""What a language model computes between its matrix products, fused: RMSNorm, gated units, rotary positions, attention.

Torch makes each of them of several operations, each of which reads and writes its whole tensor. Here each is one pass
over memory, forward and backward, and what the backward pass needs is worked out again from the inputs. The formulas
are those of transformers' Llama, Qwen2, Qwen3 and Gemma 3. Attention takes prompts that lie end to end; its
probabilities are never stored whole, but worked out again from each row's largest score and sum (FlashAttention,
arXiv 2205.14135), here in blocks of rows with all keys that they see.

Float32 tensors on a CPU go to the kernels; others, and other types, to torch's own operations, which compute in float32
at least (attention: as torch does) and return the type they were given. The kernels' results don't depend on the
number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..runtime.validation import threads_for
from . import _llm_kernels
from .prompt_layout import PromptLayout

_GELU = 2 * math.sqrt(2 / math.pi)
_SIGMOID_OF = {"silu": (1.0, 0.0), "gelu_tanh": (_GELU, 0.044715 * _GELU)}
"""Activations as x * sigmoid(a * x + b * x**3): their a and b. (1 + tanh(u)) / 2 of GELU is sigmoid(2 * u)."""

_THREAD_ELEMENTS = 1 << 18
"""Elements that a thread is worth waking for: a tenth of a millisecond's work."""

_THREAD_PRODUCTS = 1 << 21
"""Products of attention scores that a thread is worth waking for: as long."""

_LEVEL = len(_llm_kernels.attention_levels()) - 1
"""Instruction set of the attention kernel: the fastest one."""


def rms_norm(states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Return states / sqrt(mean(states**2) + eps) * weight, float [..., D].

    Args:
        states: float [..., D].
        weight: float [D], frozen: it gets no gradient. Gemma's is stored less 1: pass 1 + weight.
        eps: added to the mean.
    """
    _check_norm(states, weight)
    if _for_kernels(states, weight):
        out: torch.Tensor = _RmsNorm.apply(states, weight, eps)
        return out
    return _plain_rms_norm(states, weight.detach(), eps)


def rms_norm_values(states: torch.Tensor, weight: torch.Tensor, eps: float, room: torch.Tensor | None = None
                    ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `rms_norm` without a graph, and 1 / sqrt(mean(states**2) + eps), float [rows], for its gradient.

    Args:
        states, weight, eps: see `rms_norm`.
        room: what the kernel writes the norm into, contiguous and of the shape of `states`; None: a new tensor.
    """
    _check_norm(states, weight)
    if not _for_kernels(states, weight):
        with torch.no_grad():
            return _plain_rms_norm(states, weight, eps), _inverse_rms(_widened(states), eps).flatten()
    rows = _rows(states)
    out, inverse_rms = _output(states, states.shape, room), rows.new_empty(len(rows))
    _llm_kernels.rms_norm(_array(rows), _array(weight.contiguous()), eps, _array(_rows(out)), _array(inverse_rms),
                          _threads(rows))
    return out, inverse_rms


def rms_norm_gradient(d_out: torch.Tensor, states: torch.Tensor, weight: torch.Tensor,
                      inverse_rms: torch.Tensor) -> torch.Tensor:
    """Return the gradient by `states`, float [..., D].

    Args:
        d_out: gradient by the output of `rms_norm`, float [..., D].
        states, weight: see `rms_norm`.
        inverse_rms: float [rows], as `rms_norm_values` gave it.
    """
    _check_norm(states, weight)
    _check_shape("d_out", d_out, states.shape)
    if not _for_kernels(d_out, states, weight, inverse_rms):
        return _plain_rms_norm_gradient(d_out, states, weight, inverse_rms)
    rows = _rows(states)
    _check_shape("inverse_rms", inverse_rms, rows.shape[:1])
    d_states = torch.empty_like(rows)
    _llm_kernels.rms_norm_gradient(_array(_rows(d_out)), _array(rows), _array(weight.contiguous()), _array(inverse_rms),
                                   _array(d_states), _threads(rows))
    return d_states.view(states.shape)


def gated_values(gate_up: torch.Tensor, activation: str, room: torch.Tensor | None = None) -> torch.Tensor:
    """Return activation(gate) * up, float [T, F], without a graph.

    Args:
        gate_up: float [T, 2F], the gate first.
        activation: "silu" or "gelu_tanh" (what transformers calls "gelu_pytorch_tanh").
        room: what the kernel writes into, contiguous [T, F]; None: a new tensor.
    """
    _check_gated(gate_up, activation)
    if not _for_kernels(gate_up):
        with torch.no_grad():
            return _plain_gated(gate_up, activation)
    gate_up = gate_up.contiguous()
    out = _output(gate_up, (len(gate_up), gate_up.shape[1] // 2), room)
    _llm_kernels.gated(_array(gate_up), *_SIGMOID_OF[activation], _array(out), _threads(out))
    return out


def gated_gradient(d_out: torch.Tensor, gate_up: torch.Tensor, activation: str) -> torch.Tensor:
    """Return the gradient by `gate_up`, float [T, 2F].

    Args:
        d_out: gradient by the output of `gated_values`, float [T, F].
        gate_up, activation: see `gated_values`.
    """
    _check_gated(gate_up, activation)
    _check_shape("d_out", d_out, (len(gate_up), gate_up.shape[1] // 2))
    if not _for_kernels(d_out, gate_up):
        return _plain_gradient(lambda values: _plain_gated(values, activation), gate_up, d_out)
    d_out, gate_up = d_out.contiguous(), gate_up.contiguous()
    d_gate_up = torch.empty_like(gate_up)
    _llm_kernels.gated_gradient(_array(d_out), _array(gate_up), *_SIGMOID_OF[activation], _array(d_gate_up),
                                _threads(gate_up))
    return d_gate_up


def rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return float [T, H, hd] with the pairs (x[j], x[j + hd / 2]) of each head turned by their row's angles.

    Args:
        heads: float [T, H, hd]; may be a part of a product [T, total], its rows `total` apart.
        cos, sin: float [T, hd], of the angles as transformers gives them: the right half repeats the left one.
    """
    _check_rotated(heads, cos, sin)
    if _for_kernels(heads, cos, sin):
        out: torch.Tensor = _Rotated.apply(heads, cos, sin)
        return out
    return _plain_rotated(heads, cos, sin)


def rotated_values(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, inverse: bool = False) -> torch.Tensor:
    """Return `rotated` without a graph; with `inverse`, turned back, which is also the gradient of `rotated`.

    Arguments as for `rotated`.
    """
    _check_rotated(heads, cos, sin)
    if not _for_kernels(heads, cos, sin):
        with torch.no_grad():
            return _plain_rotated(heads, cos, -sin if inverse else sin)
    if heads.stride(2) != 1:
        heads = heads.contiguous()
    out = heads.new_empty(heads.shape)
    _llm_kernels.rotated(_array(heads), _array(cos.contiguous()), _array(sin.contiguous()), -1.0 if inverse else 1.0,
                         _array(out), _threads(out))
    return out


def attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: PromptLayout, scale: float,
              window: int | None, rotations: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
    """Return softmax(scale * queries keys^T) values over the tokens that each token sees, float [T, H * d].

    The kernels keep what they were given, and rotate it again in the backward pass: of queries, keys and values that
    are parts of one product, that product alone is kept.

    Args:
        queries: float [T, H, d]; like keys and values it may be a part of a product [T, total], its rows `total` apart.
        keys: float [T, G, d]; head h of the queries takes number h // (H / G) of them.
        values: float [T, G, d].
        layout: of the T tokens; a token sees itself and those before it in its prompt.
        scale: of the scores.
        window: a token sees itself and window - 1 tokens before it; None: all of them.
        rotations: cos and sin, [T, d], by which queries and keys are `rotated` first; None: they are as they should be.
    """
    _check_attention(queries, keys, values, layout, window)
    if _for_kernels(queries, keys, values, *(rotations or ())):
        out: torch.Tensor = _Attention.apply(queries, keys, values, layout, scale, window, *(rotations or (None, None)))
        return out
    if rotations:
        queries, keys = rotated(queries, *rotations), rotated(keys, *rotations)
    return _plain_attention(queries, keys, values, layout, scale, window)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, keys, values, layout, scale, window, cos, sin):  # type: ignore[no-untyped-def]
        given = queries, keys, values
        queries, keys, values = _for_attention(*given, cos, sin)
        out, statistics = queries.new_empty(queries.shape), queries.new_empty(2, *queries.shape[:2])
        ctx.asked = layout.shared, layout.starts, layout.lengths, scale, min(layout.shape[1], window or layout.shape[1])
        ctx.longest = layout.shape[1]
        _llm_kernels.attention(_array(queries), _array(keys), _array(values), *ctx.asked, _array(out),
                               _array(statistics), _scratch(queries, ctx.longest), _LEVEL)
        ctx.save_for_backward(*given, cos, sin, statistics)
        return out.flatten(1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        *given, cos, sin, statistics = ctx.saved_tensors
        queries, keys, values = _for_attention(*given, cos, sin)
        d_out = gradient.contiguous().view(queries.shape)
        d_queries, d_keys, d_values = (part.new_empty(part.shape) for part in (queries, keys, values))
        shared, starts, *_ = ctx.asked
        parts = keys.new_empty(max(1, len(starts) * 2 * shared * keys.shape[1] * keys.shape[2]))
        _llm_kernels.attention_gradient(_array(d_out), _array(queries), _array(keys), _array(values), *ctx.asked,
                                        _array(statistics), _array(d_queries), _array(d_keys), _array(d_values),
                                        _array(parts), _scratch(queries, ctx.longest), _LEVEL)
        if cos is not None:
            d_queries, d_keys = (rotated_values(part, cos, sin, inverse=True) for part in (d_queries, d_keys))
        return d_queries, d_keys, d_values, None, None, None, None, None


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


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, heads, cos, sin):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(cos, sin)
        return rotated_values(heads, cos, sin)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return rotated_values(gradient, *ctx.saved_tensors, inverse=True), None, None


def _plain_rms_norm(states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = _widened(states)
    unit = wide * _inverse_rms(wide, eps)
    if weight.dtype != states.dtype:  # Gemma's, in float32: rounded once, at the end
        return (weight * unit).to(states.dtype)
    return weight * unit.to(states.dtype)


def _plain_rms_norm_gradient(d_out: torch.Tensor, states: torch.Tensor, weight: torch.Tensor,
                             inverse_rms: torch.Tensor) -> torch.Tensor:
    inverse = inverse_rms.view(*states.shape[:-1], 1)
    unit, pulled = _widened(states) * inverse, _widened(d_out) * weight
    return ((pulled - unit * (pulled * unit).mean(-1, keepdim=True)) * inverse).to(states.dtype)


def _inverse_rms(wide: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)


def _plain_gated(gate_up: torch.Tensor, activation: str) -> torch.Tensor:
    gate, up = _widened(gate_up).chunk(2, dim=-1)
    active = F.silu(gate) if activation == "silu" else F.gelu(gate, approximate="tanh")
    return (active * up).to(gate_up.dtype)


def _plain_rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = heads.shape[-1] // 2
    first, second = _widened(heads).split(half, dim=-1)
    cos, sin = cos[:, None, :half], sin[:, None, :half]  # [T, 1, hd / 2]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(heads.dtype)


def _plain_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: PromptLayout,
                     scale: float, window: int | None) -> torch.Tensor:
    """Return `attention` of the padded batch, unpadded."""
    heads, kv_heads, width = queries.shape[1], keys.shape[1], queries.shape[2]
    rows = _Rows.apply(torch.cat([queries.flatten(1), keys.flatten(1), values.flatten(1)], dim=-1), layout)
    parts = rows.split([heads * width, kv_heads * width, kv_heads * width], dim=-1)
    queries, keys, values = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in parts)  # [B, heads, L, d]
    length = queries.shape[2]
    mask = None
    if window is not None and length > window:
        places = torch.arange(length, device=queries.device)
        distance = places[:, None] - places
        mask = (distance >= 0) & (distance < window)
    out = F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=mask is None, scale=scale,
                                         enable_gqa=heads != kv_heads)
    packed: torch.Tensor = _Unrows.apply(out.transpose(1, 2).flatten(2), layout)
    return packed


class _Rows(torch.autograd.Function):
    """Packed rows side by side: [T, N] -> [B, L, N]; and the gradient of the repeated ones summed."""

    @staticmethod
    def forward(ctx, rows, layout):  # type: ignore[no-untyped-def]
        ctx.layout = layout
        return rows.index_select(0, layout.side_by_side).view(*layout.shape, -1)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        layout = ctx.layout
        rows = gradient.reshape(-1, gradient.shape[-1]).index_select(0, layout.packed)
        rows[:layout.shared] = gradient[:, :layout.shared].sum(dim=0)
        return rows, None


class _Unrows(torch.autograd.Function):
    """The way back, [B, L, N] -> [T, N]: shared tokens from the first prompt, where they come out alike."""

    @staticmethod
    def forward(ctx, rows, layout):  # type: ignore[no-untyped-def]
        ctx.layout = layout
        return rows.reshape(-1, rows.shape[-1]).index_select(0, layout.packed)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        layout = ctx.layout
        rows = gradient.new_zeros(layout.shape[0] * layout.shape[1], gradient.shape[-1])
        rows[layout.packed] = gradient
        return rows.view(*layout.shape, -1), None


def _plain_gradient(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor,
                    d_out: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        return torch.autograd.grad(function(at), at, d_out)[0]


def _widened(values: torch.Tensor) -> torch.Tensor:
    """Return the values in float32, or in float64 if they are so."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _for_kernels(*tensors: torch.Tensor) -> bool:
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)


def _threads(values: torch.Tensor) -> int:
    return threads_for(values.numel(), torch.get_num_threads(), _THREAD_ELEMENTS)


def _scratch(queries: torch.Tensor, longest: int) -> np.ndarray:
    """Return the attention kernel's work space: float32 [threads, numbers]."""
    threads = threads_for(queries.numel() * longest, torch.get_num_threads(), _THREAD_PRODUCTS)
    return _array(queries.new_empty(threads, _llm_kernels.scratch_size(_LEVEL, longest, queries.shape[2])))


def _for_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cos: torch.Tensor | None,
                   sin: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what the attention kernel takes: queries and keys rotated if there are angles, and whole rows."""
    if cos is not None and sin is not None:
        return rotated_values(queries, cos, sin), rotated_values(keys, cos, sin), _with_whole_rows(values)
    return _with_whole_rows(queries), _with_whole_rows(keys), _with_whole_rows(values)


def _with_whole_rows(heads: torch.Tensor) -> torch.Tensor:
    """Return [T, heads, d] where what belongs to a token is contiguous, copied only if it isn't so."""
    return heads if heads.stride()[1:] == (heads.shape[2], 1) else heads.contiguous()


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().numpy()


def _rows(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(-1, values.shape[-1])  # [rows, D]


def _output(like: torch.Tensor, shape: tuple[int, ...], room: torch.Tensor | None) -> torch.Tensor:
    """Return a tensor to write to, `room` if there is one."""
    if room is None:
        return like.new_empty(shape)
    if room.shape != shape or not room.is_contiguous() or not _for_kernels(room):
        raise ValueError(f"room is {room.dtype} of shape {tuple(room.shape)}; expected contiguous float32 of shape "
                         f"{tuple(shape)} on the CPU")
    return room


def _check_norm(states: torch.Tensor, weight: torch.Tensor) -> None:
    if not states.dim():
        raise ValueError("states has no dimension; expected [..., D]")
    _check_shape("weight", weight, states.shape[-1:])


def _check_gated(gate_up: torch.Tensor, activation: str) -> None:
    if activation not in _SIGMOID_OF:
        raise ValueError(f"activation is {activation!r}; expected one of {', '.join(_SIGMOID_OF)}")
    if gate_up.dim() != 2 or gate_up.shape[1] % 2:
        raise ValueError(f"gate_up has shape {tuple(gate_up.shape)}; expected [T, 2F], gate and up of equal width")


def _check_rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    if heads.dim() != 3 or heads.shape[2] % 2:
        raise ValueError(f"heads has shape {tuple(heads.shape)}; expected [T, H, hd], hd even")
    for name, values in (("cos", cos), ("sin", sin)):
        _check_shape(name, values, (heads.shape[0], heads.shape[2]))


def _check_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: PromptLayout,
                     window: int | None) -> None:
    total = len(layout.packed)
    if queries.dim() != 3 or len(queries) != total:
        raise ValueError(f"queries has shape {tuple(queries.shape)}; expected [{total}, H, d]")
    if keys.dim() != 3 or not keys.shape[1] or queries.shape[1] % keys.shape[1]:
        raise ValueError(f"keys has shape {tuple(keys.shape)}; expected [{total}, G, {queries.shape[2]}], where G "
                         f"divides the {queries.shape[1]} heads of the queries")
    _check_shape("keys", keys, (total, keys.shape[1], queries.shape[2]))
    _check_shape("values", values, tuple(keys.shape))
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; expected at least 1, the token itself, or None")


def _check_shape(name: str, values: torch.Tensor, expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected {tuple(expected)}")
