"""Causal attention of prompts that lie end to end and share their first tokens.

    queries [T, H, d], keys and values [T, G, d]; head h of the queries goes with number h // (H / G) of the others
    scores  = scale * queries keys^T, for the tokens that a token sees: itself and those before it in its prompt
    weights = softmax(scores)
    out     = weights values [T, H * d]

The weights are never stored whole, but computed again in the backward pass from the softmax statistics, each row's
largest score and sum (FlashAttention, arXiv 2205.14135); here a row block meets all keys that it sees.

Float32 tensors on a CPU go to the kernel of csrc/attention_isa.h, whose results don't depend on the number of threads.
All others go to torch's attention of the padded batch (`_torch_attention`). The reference of both is
`tests/_reference.py` in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..runtime.validation import threads_for
from . import _llm_kernels
from .elementwise import as_array, check_shape, for_kernels, rotated, torch_rotated
from .prompt_layout import PromptLayout

_THREAD_PRODUCTS = 1 << 21
"""Products of attention scores that a thread is worth waking for: a tenth of a millisecond's work."""

_ISA = len(_llm_kernels.instruction_sets()) - 1
"""The kernel's instruction set, an index of instruction_sets(): the fastest that this CPU has."""


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
    if for_kernels(queries, keys, values, *(rotations or ())):
        out: torch.Tensor = _Attention.apply(queries, keys, values, layout, scale, window, *(rotations or (None, None)))
        return out
    if rotations:
        queries, keys = torch_rotated(queries, *rotations), torch_rotated(keys, *rotations)
    return _torch_attention(queries, keys, values, layout, scale, window)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, keys, values, layout, scale, window, cos, sin):  # type: ignore[no-untyped-def]
        given = queries, keys, values
        queries, keys, values = _for_attention(*given, cos, sin)
        out, statistics = queries.new_empty(queries.shape), queries.new_empty(2, *queries.shape[:2])
        ctx.longest = layout.shape[1]
        ctx.arguments = layout.shared, layout.starts, layout.lengths, scale, min(ctx.longest, window or ctx.longest)
        _llm_kernels.attention(as_array(queries), as_array(keys), as_array(values), *ctx.arguments, as_array(out),
                               as_array(statistics), _workspace(queries, ctx.longest), _ISA)
        ctx.save_for_backward(*given, cos, sin, statistics)
        return out.flatten(1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        *given, cos, sin, statistics = ctx.saved_tensors
        queries, keys, values = _for_attention(*given, cos, sin)
        d_out = gradient.contiguous().view(queries.shape)
        d_queries, d_keys, d_values = (part.new_empty(part.shape) for part in (queries, keys, values))
        shared, starts, *_ = ctx.arguments
        parts = keys.new_empty(max(1, len(starts) * 2 * shared * keys.shape[1] * keys.shape[2]))
        _llm_kernels.attention_gradient(as_array(d_out), as_array(queries), as_array(keys), as_array(values),
                                        *ctx.arguments, as_array(statistics), as_array(d_queries), as_array(d_keys),
                                        as_array(d_values), as_array(parts), _workspace(queries, ctx.longest), _ISA)
        if cos is not None:
            d_queries, d_keys = (rotated(part, cos, sin, inverse=True) for part in (d_queries, d_keys))
        return d_queries, d_keys, d_values, None, None, None, None, None


def _torch_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: PromptLayout,
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


def _workspace(queries: torch.Tensor, longest: int) -> np.ndarray:
    """Return the attention kernel's work space: float32 [threads, numbers]."""
    threads = threads_for(queries.numel() * longest, torch.get_num_threads(), _THREAD_PRODUCTS)
    return as_array(queries.new_empty(threads, _llm_kernels.workspace_size(_ISA, longest, queries.shape[2])))


def _for_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cos: torch.Tensor | None,
                   sin: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what the attention kernel takes: queries and keys rotated if there are angles, and whole rows."""
    if cos is not None and sin is not None:
        return rotated(queries, cos, sin), rotated(keys, cos, sin), _with_whole_rows(values)
    return _with_whole_rows(queries), _with_whole_rows(keys), _with_whole_rows(values)


def _with_whole_rows(heads: torch.Tensor) -> torch.Tensor:
    """Return [T, heads, d] where what belongs to a token is contiguous, copied only if it isn't so."""
    return heads if heads.stride()[1:] == (heads.shape[2], 1) else heads.contiguous()


def _check_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: PromptLayout,
                     window: int | None) -> None:
    total = len(layout.packed)
    if queries.dim() != 3 or len(queries) != total:
        raise ValueError(f"queries has shape {tuple(queries.shape)}; expected [{total}, H, d]")
    if keys.dim() != 3 or not keys.shape[1] or queries.shape[1] % keys.shape[1]:
        raise ValueError(f"keys has shape {tuple(keys.shape)}; expected [{total}, G, {queries.shape[2]}], where G "
                         f"divides the {queries.shape[1]} heads of the queries")
    check_shape("keys", keys, (total, keys.shape[1], queries.shape[2]))
    check_shape("values", values, tuple(keys.shape))
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; expected at least 1, the token itself, or None")
