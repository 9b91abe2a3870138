"""Causal attention of prompts that lie end to end and share their first tokens.

    queries [T, H, d], keys and values [T, G, d]; query head h uses key and value head h // (H / G)
    scores  = scale * queries keys^T, for the tokens that a token sees: itself and those before it in its prompt
    weights = softmax(scores)
    out     = weights values [T, H * d]

The weights are never stored whole; the backward pass computes them again from each row's largest score and sum
(FlashAttention, arXiv 2205.14135), with all keys that a block of rows sees at once.

Float32 tensors on a CPU go to the kernel of csrc/attention_isa.h, whose results don't depend on the number of threads.
Others go to torch's attention of the padded batch (`_torch_attention`). The reference of both is `tests/_reference.py`
in float64.

Three prompts that share P = 2 tokens and have 3, 1 and 2 of their own, T = 8 (s: shared):

    row         0  1 | 2  3  4 | 5 | 6  7
                s  s   a  a  a   b   c  c
    starts                [2, 5, 6]     lengths [3, 1, 2]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..runtime.validation import as_int64, check_range, threads_for
from . import _llm_kernels
from .elementwise import as_array, check_shape, for_kernels, rotated, torch_rotated

_THREAD_PRODUCTS = 1 << 21
"""Products per thread, a tenth of a millisecond's work; fewer are not worth waking a thread."""

_ISA = len(_llm_kernels.instruction_sets()) - 1
"""The kernel's instruction set, an index of instruction_sets(): the fastest that this CPU has."""


@dataclass(frozen=True)
class PromptLayout:
    """Where B prompts lie in a row of T tokens: P shared ones, then the rest of each.

    Made by `prompt_layout` only: the kernel relies on it.
    """

    shared: int
    """P"""
    starts: np.ndarray
    """int64 [B], on the CPU: the first row of each prompt's own tokens."""
    lengths: np.ndarray
    """int64 [B], on the CPU: number of own tokens."""
    side_by_side: torch.Tensor
    """int64 [B * L]: the token at each place of the padded batch [B, L], L the longest prompt; padding repeats 0."""
    packed: torch.Tensor
    """int64 [T]: the place of each token in that batch; that of shared tokens is in the first prompt."""

    @property
    def shape(self) -> tuple[int, int]:
        """B and L."""
        return len(self.lengths), len(self.side_by_side) // len(self.lengths)


def prompt_layout(shared: int, lengths: ArrayLike, device: torch.device) -> PromptLayout:
    """Return the layout of prompts with `shared` common tokens and `lengths`, at least 1, of their own.

    The device is that of the tensors that `attention` will be given.
    """
    own = as_int64("lengths", lengths)
    if shared < 0 or not len(own) or own.min() < 1:
        raise ValueError(f"{shared} shared tokens and {own.tolist()} own ones; expected at least 0, and at least 1 of "
                         "each prompt")
    starts = shared + np.cumsum(own) - own
    longest = shared + int(own.max())
    side_by_side = np.zeros((len(own), longest), dtype=np.int64)
    side_by_side[:, :shared] = np.arange(shared)
    packed = np.arange(shared + int(own.sum()))
    for row, (start, length) in enumerate(zip(starts, own, strict=True)):
        side_by_side[row, shared:shared + length] = np.arange(start, start + length)
        packed[start:start + length] = row * longest + shared + np.arange(length)
    return PromptLayout(shared, starts, own, torch.from_numpy(side_by_side.ravel()).to(device),
                        torch.from_numpy(packed).to(device))


def attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: PromptLayout, scale: float,
              window: int | None, rotations: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
    """Return softmax(scale * queries keys^T) values over the tokens that each token sees, float [T, H * d].

    The kernels keep their inputs and rotate them again in the backward pass: if queries, keys and values are parts of
    one product, only that product is kept.

    Args:
        queries: float [T, H, d]; like keys and values it may be a part of a product [T, total], its rows `total` apart.
        keys, values: float [T, G, d].
        layout: of the T tokens.
        scale: of the scores.
        window: a token sees itself and window - 1 tokens before it; None: all of them.
        rotations: cos and sin, [T, d], by which queries and keys are `rotated` first; None: no rotation.
    """
    _check_attention(queries, keys, values, layout, window)
    if for_kernels(queries, keys, values, *(rotations or ())):
        out: torch.Tensor = _Attention.apply(queries, keys, values, layout, scale, window, *(rotations or (None, None)))
        return out
    if rotations:
        queries, keys = torch_rotated(queries, *rotations), torch_rotated(keys, *rotations)
    return _torch_attention(queries, keys, values, layout, scale, window)


def packed_self_attention(product: torch.Tensor, lengths: ArrayLike, causal: bool = True) -> torch.Tensor:
    """Return attention of sequences that share no token, float32 [T, H * d], the scores scaled by d**-0.5.

    Args:
        product: float32 [T, 3, H, d] on a CPU: queries, keys and values of each token.
        lengths: int64 [B], the number of tokens of each sequence, at least 1; together T.
        causal: whether a token sees only itself and those before it in its sequence; else it sees all of them.
    """
    own = as_int64("lengths", lengths)
    check_range("lengths", own, 1, len(product))
    check_shape("product", product, (int(own.sum()), 3, *product.shape[2:]))
    out: torch.Tensor = _PackedSelfAttention.apply(product, own, causal)
    return out


class _PackedSelfAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, product, lengths, causal):  # type: ignore[no-untyped-def]
        product = product.contiguous()
        queries, keys, values = product.unbind(1)
        out, statistics = product.new_empty(queries.shape), product.new_empty(2, *queries.shape[:2])
        longest = ctx.longest = int(lengths.max())
        ctx.arguments = (0, np.cumsum(lengths) - lengths, lengths, product.shape[3] ** -0.5, longest,
                         0 if causal else longest)
        _llm_kernels.attention(as_array(queries), as_array(keys), as_array(values), *ctx.arguments, as_array(out),
                               as_array(statistics), _workspace(queries, longest), _ISA)
        ctx.save_for_backward(product, statistics)
        return out.flatten(1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        product, statistics = ctx.saved_tensors
        d_product = torch.empty_like(product)
        queries, keys, values = product.unbind(1)
        d_queries, d_keys, d_values = d_product.unbind(1)
        d_out, shared_parts = gradient.contiguous().view(queries.shape), np.empty(1, np.float32)
        _llm_kernels.attention_gradient(as_array(d_out), as_array(queries), as_array(keys), as_array(values),
                                        *ctx.arguments, as_array(statistics), as_array(d_queries), as_array(d_keys),
                                        as_array(d_values), shared_parts, _workspace(queries, ctx.longest), _ISA)
        return d_product, None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, keys, values, layout, scale, window, cos, sin):  # type: ignore[no-untyped-def]
        given = queries, keys, values
        queries, keys, values = _for_attention(*given, cos, sin)
        out, statistics = queries.new_empty(queries.shape), queries.new_empty(2, *queries.shape[:2])
        ctx.longest = layout.shape[1]
        ctx.arguments = layout.shared, layout.starts, layout.lengths, scale, min(ctx.longest, window or ctx.longest), 0
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
    """Pad: [T, N] -> [B, L, N]; the gradients of repeated rows are summed."""

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
    """Unpad: [B, L, N] -> [T, N]; shared tokens, which are alike in all prompts, come from the first one."""

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
    """Return the inputs of the attention kernel: queries and keys rotated if there are angles, tokens contiguous."""
    if cos is not None and sin is not None:
        return rotated(queries, cos, sin), rotated(keys, cos, sin), _with_whole_rows(values)
    return _with_whole_rows(queries), _with_whole_rows(keys), _with_whole_rows(values)


def _with_whole_rows(heads: torch.Tensor) -> torch.Tensor:
    """Return [T, heads, d] with the values of each token contiguous, copied only if necessary."""
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
