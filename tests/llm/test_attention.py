from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from tslrec_min.llm import _llm_kernels
from tslrec_min.llm.attention import attention, packed_self_attention, prompt_layout
from tslrec_min.llm.elementwise import gated_gradient, gated_values, rms_norm, rms_norm_gradient, rotated

from .. import _reference as reference
from ..robustness.kernel_inputs import CPU, FUZZ, arrays, check
from .factories import _Rotated, angles, gradient_of, normal, same, wide_rotated

pytestmark = pytest.mark.kernel
EPS = 1e-6
INSTRUCTION_SETS = range(len(_llm_kernels.instruction_sets()))
ATTENTION = {  # shared, lengths, heads, key heads, width, window
    "a fine-tuning batch": (9, (60, 21, 1, 48), 9, 3, 64, None),
    "nothing shared": (0, (33, 7), 6, 2, 16, None),
    "one prompt": (5, (40,), 4, 1, 8, None),
    "one token": (0, (1,), 2, 2, 8, None),
    "little of their own": (70, (1, 2, 1), 3, 3, 64, None),
    "a window": (9, (60, 3, 130), 4, 1, 24, 40),
    "a window of one token": (3, (9, 20), 2, 1, 8, 1),
    "a window that none fills": (3, (9, 20), 2, 1, 8, 23),
    "wide heads": (4, (20, 35), 4, 1, 256, 16),
    "many heads for a key": (2, (30, 11), 11, 1, 20, None),
    "long": (2, (300,), 1, 1, 8, None),
}


def attended(kind):
    """Queries, keys, values (a part of a wider product), the gradient, and what else `attention` takes."""
    shared, lengths, heads, kv_heads, width, window = ATTENTION[kind]
    layout, total = prompt_layout(shared, lengths, torch.device("cpu")), shared + sum(lengths)
    queries, keys = normal(total, heads, width), normal(total, kv_heads, width, seed=1)
    values = normal(total, (kv_heads + 2) * width, seed=2)[:, 2 * width:].unflatten(1, (kv_heads, width))
    return (queries, keys, values), normal(total, heads * width, seed=3), (layout, width**-0.5, window)


def wide_attention(queries, keys, values, layout, scale, window):
    """The definition, over all T x T pairs of tokens: what a token doesn't see is masked."""
    tokens, total = torch.arange(len(queries)), len(queries)
    prompt, position = torch.full((total,), -1), tokens.clone()
    for row, (start, length) in enumerate(zip(layout.starts.tolist(), layout.lengths.tolist(), strict=True)):
        prompt[start:start + length] = row
        position[start:start + length] = layout.shared + torch.arange(length)
    distance = position[:, None] - position
    seen = (distance >= 0) & (distance < (window or total)) & ((prompt == -1) | (prompt[:, None] == prompt))
    keys, values = (part.repeat_interleave(queries.shape[1] // keys.shape[1], 1) for part in (keys, values))
    scores = scale * torch.einsum("thd,shd->hts", queries, keys)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("hts,shd->thd", weights, values).flatten(1)


def with_gradients(function, heads, d_out, *arguments):
    heads = [part.detach().requires_grad_() for part in heads]
    out = function(*heads, *arguments)
    return [out.detach(), *torch.autograd.grad(out, heads, d_out.to(out.dtype))]


def wide_with_gradients(heads, d_out, *arguments):
    return with_gradients(wide_attention, [part.double() for part in heads], d_out, *arguments)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_and_its_gradients(kind, isa, monkeypatch):
    monkeypatch.setattr("tslrec_min.llm.attention._ISA", isa)
    heads, d_out, arguments = attended(kind)
    layout, scale, window = arguments
    found = with_gradients(attention, heads, d_out, *arguments)
    twin = reference.attention(*(part.double().numpy() for part in heads), layout.shared, layout.lengths, scale,
                               window or len(d_out))
    same(found[0], twin.reshape(d_out.shape))
    for one, other in zip(found, wide_with_gradients(heads, d_out, *arguments), strict=True):
        same(one, other)


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_of_other_types_is_left_to_torch(kind):
    heads, d_out, arguments = attended(kind)
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.bfloat16, 0.05)):
        expected = with_gradients(attention, heads, d_out, *arguments)
        for one, other in zip(with_gradients(attention, [part.to(dtype) for part in heads], d_out, *arguments),
                              expected, strict=True):
            assert one.dtype == dtype
            # The gradient by a lone token's query is zero, which a sum in another order may miss by a rounding.
            scale = max(other.abs().max().item(), torch.finfo(torch.float32).eps * d_out.abs().max().item())
            torch.testing.assert_close(one.float(), other, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_extreme_scores_of_attention(isa, monkeypatch):
    """Up to +-1e4 and more: the largest one takes all, and nothing overflows."""
    monkeypatch.setattr("tslrec_min.llm.attention._ISA", isa)
    (queries, keys, values), d_out, arguments = attended("a fine-tuning batch")
    queries, keys = queries * 300, keys * 300
    found = with_gradients(attention, (queries, keys, values), d_out, *arguments)
    expected = wide_with_gradients((queries, keys, values), d_out, *arguments)
    for one, other in zip(found, expected, strict=True):
        assert one.isfinite().all()
        # scores of 1e5 are rounded to 1e-2
        torch.testing.assert_close(one.double(), other, rtol=0.1, atol=0.05 * other.abs().max().item())
    values = values.clone()
    values[20, 0, 5] = float("nan")  # own token 11 of the first prompt, which has 60
    out = attention(queries, keys, values, *arguments).view(-1, 9, 64)
    assert out[20:69, :3, 5].isnan().all() and not out[:9].isnan().any() and not out[69:].isnan().any()


def test_attention_does_not_depend_on_the_number_of_threads_nor_on_the_prompts_beside(monkeypatch):
    monkeypatch.setattr("tslrec_min.llm.attention._THREAD_PRODUCTS", 1)
    before, found = torch.get_num_threads(), []
    heads, d_out, arguments = attended("a fine-tuning batch")
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(with_gradients(attention, heads, d_out, *arguments))
    finally:
        torch.set_num_threads(before)
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    first = 9 + 60
    alone = attention(*(part[:first] for part in heads), prompt_layout(9, [60], torch.device("cpu")), *arguments[1:])
    assert torch.equal(alone, found[0][0][:first])


def test_attention_rotates_queries_and_keys():
    (queries, keys, values), d_out, arguments = attended("a fine-tuning batch")
    rotations = angles(len(queries), queries.shape[2] // 2)
    for kind, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        heads = [part.to(kind) for part in (queries, keys, values)]
        cos, sin = (part.to(kind) for part in rotations)
        expected = with_gradients(
            lambda q, k, *rest, cos=cos, sin=sin: attention(_Rotated.apply(q, cos, sin), _Rotated.apply(k, cos, sin),
                                                            *rest),
            heads, d_out, *arguments)
        for one, other in zip(with_gradients(attention, heads, d_out, *arguments, (cos, sin)), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_attention_takes_any_strides():
    heads, d_out, arguments = attended("a window")
    strided = [part.permute(2, 0, 1).contiguous().permute(1, 2, 0) for part in heads]
    for one, other in zip(with_gradients(attention, strided, d_out.T.contiguous().T, *arguments),
                          with_gradients(attention, heads, d_out, *arguments), strict=True):
        assert torch.equal(one, other)


def test_attention_of_thousands_of_tokens():
    total, (layout, scale, window) = 3000, attended("long")[2]
    layout = prompt_layout(1000, [total - 1000], torch.device("cpu"))
    heads, d_out = [normal(total, 1, 8, seed=seed) for seed in range(3)], normal(total, 8, seed=3)
    for one, other in zip(with_gradients(attention, heads, d_out, layout, scale, window),
                          wide_with_gradients(heads, d_out, layout, scale, window), strict=True):
        same(one, other)


def attention_of(queries=(5, 6, 8), keys=(5, 3, 8), values=(5, 3, 8), window=None):
    return attention(torch.zeros(queries), torch.zeros(keys), torch.zeros(values),
                     prompt_layout(1, [2, 2], torch.device("cpu")), 1.0, window)


@pytest.mark.parametrize("call, message", [
    (lambda: rms_norm(torch.zeros(2, 8), torch.ones(4), EPS), r"weight has shape \(4,\); expected \(8,\)"),
    (lambda: rms_norm_gradient(torch.zeros(3, 8), torch.zeros(2, 8), torch.ones(8), torch.ones(2)), "d_out has shape"),
    (lambda: rms_norm_gradient(torch.zeros(2, 8), torch.zeros(2, 8), torch.ones(8), torch.ones(1)), "inverse_rms has"),
    (lambda: gated_values(torch.zeros(2, 8), "relu"), "activation is 'relu'; expected one of silu, gelu_tanh"),
    (lambda: gated_values(torch.zeros(2, 7), "silu"), r"gate_up has shape \(2, 7\)"),
    (lambda: gated_values(torch.zeros(8), "silu"), r"gate_up has shape \(8,\)"),
    (lambda: gated_gradient(torch.zeros(2, 3), torch.zeros(2, 8), "silu"), r"d_out has shape \(2, 3\)"),
    (lambda: rotated(torch.zeros(2, 1, 7), torch.ones(2, 7), torch.ones(2, 7)), "heads has shape"),
    (lambda: rotated(torch.zeros(2, 1, 8), torch.ones(1, 8), torch.ones(2, 8)), r"cos has shape \(1, 8\)"),
    (lambda: rotated(torch.zeros(2, 1, 8), torch.ones(2, 8), torch.ones(2, 4)), r"sin has shape \(2, 4\)"),
    (lambda: attention_of(queries=(4, 6, 8)), r"queries has shape \(4, 6, 8\); expected \[5, H, d\]"),
    (lambda: attention_of(queries=(5, 48)), r"queries has shape \(5, 48\)"),
    (lambda: attention_of(keys=(5, 4, 8)), r"keys has shape \(5, 4, 8\).*divides the 6 heads"),
    (lambda: attention_of(keys=(5, 3, 4)), r"keys has shape \(5, 3, 4\); expected \(5, 3, 8\)"),
    (lambda: attention_of(values=(5, 6, 8)), r"values has shape \(5, 6, 8\); expected \(5, 3, 8\)"),
    (lambda: attention_of(window=0), "window is 0; expected at least 1"),
])
def test_shapes_are_checked_before_a_kernel_sees_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@FUZZ
@given(st.integers(0, 6), st.integers(1, 3), st.integers(0, 4), st.integers(1, 2**70), st.booleans())
def test_attention_of_no_heads_no_width_and_any_window(heads, kv_heads, width, window, backward):
    layout = prompt_layout(2, [1, 3], CPU)
    parts = [torch.ones(6, count, width, requires_grad=backward) for count in (heads, kv_heads, kv_heads)]
    if heads % kv_heads:
        with pytest.raises(ValueError, match="divides"):
            attention(*parts, layout, 1.0, window)
        return
    out = attention(*parts, layout, 1.0, window)
    torch.testing.assert_close(out, torch.ones(6, heads * width))  # means of ones
    if backward:
        out.sum().backward()
        assert all(torch.isfinite(part.grad).all() for part in parts)


def test_layouts_of_a_model():
    """Batched states, gradients that come transposed or expanded, a product that goes on to q, k and v."""
    states, weight = normal(2, 5, 12), normal(12, seed=1)
    assert torch.equal(rms_norm(states, weight, EPS).view(10, 12), rms_norm(states.view(10, 12), weight, EPS))
    d_out = normal(12, 5, 2, seed=3).transpose(0, 2)
    assert torch.equal(gradient_of(lambda x: rms_norm(x, weight, EPS), states, d_out),
                       gradient_of(lambda x: rms_norm(x, weight, EPS), states, d_out.contiguous()))
    (cos, sin), product = angles(4, 3), normal(4, 18)

    def attended_to(x):
        q, k = x[:, :12].unflatten(1, (2, 6)), x[:, 12:].unflatten(1, (1, 6))
        turned = (_Rotated.apply(q, cos, sin), _Rotated.apply(k, cos, sin)) if x.dtype == torch.float32 else (
            wide_rotated(cos.double(), sin.double())(part) for part in (q, k))
        return sum(part.square().sum(2).prod(1).sum() + part[..., 0].sum() for part in turned)

    same(gradient_of(attended_to, product, None), gradient_of(attended_to, product.double(), None))


@FUZZ
@given(arrays(), st.integers(-2, 9))
def test_layouts_of_any_lengths(lengths, shared):
    def call(array):
        layout = prompt_layout(shared, array, CPU)
        total = len(layout.packed)
        assert total == shared + layout.lengths.sum() and (layout.lengths >= 1).all()
        return layout.starts, attention(torch.ones(total, 2, 4), *torch.ones(2, total, 1, 4), layout, 1.0, None)

    assume(lengths.size == 0 or lengths.real.astype(np.float64).max() < 100)  # memory
    check(call, lengths)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@FUZZ
@given(st.lists(st.one_of(st.integers(1, 9), st.integers(1, 210)), min_size=1, max_size=5), st.integers(1, 3),
       st.sampled_from([1, 8, 20, 32]), st.integers(1, 3))
def test_self_attention_in_both_directions(isa, lengths, heads, width, threads):
    product, d_out = normal(sum(lengths), 3, heads, width), normal(sum(lengths), heads * width, seed=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tslrec_min.llm.attention._ISA", isa)
            patch.setattr("tslrec_min.llm.attention._THREAD_PRODUCTS", 1)
            found = with_gradients(lambda x: packed_self_attention(x, lengths, causal=False), [product], d_out)
    finally:
        torch.set_num_threads(before)
    queries, keys, values = product.double().numpy().transpose(1, 0, 2, 3)
    same(found[0], reference.attention(queries, keys, values, 0, lengths, width**-0.5, 999, 999).reshape(d_out.shape))

    def torchs(x):
        parts = (part.transpose(0, 2).transpose(0, 1) for part in x.split(lengths))  # [3, H, n, d]
        return torch.cat([F.scaled_dot_product_attention(*part).transpose(0, 1).flatten(1) for part in parts])

    for one, other in zip(found, with_gradients(torchs, [product.double()], d_out), strict=True):
        same(one, other)


@FUZZ
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 3), st.sampled_from([1, 8, 20]))
def test_self_attention_of_one_product_is_attention_of_its_parts(lengths, heads, width):
    product = torch.randn(sum(lengths), 3, heads, width, requires_grad=True)
    weights = torch.randn(sum(lengths), heads * width)
    layout = prompt_layout(0, lengths, torch.device("cpu"))
    results = []
    for out in (packed_self_attention(product, lengths), attention(*product.unbind(1), layout, width ** -0.5, None)):
        results.append((out, *torch.autograd.grad((out * weights).sum(), product)))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_self_attention_of_other_lengths():
    with pytest.raises(ValueError, match="lengths"):
        packed_self_attention(torch.zeros(3, 3, 1, 4), [3, 0])
    with pytest.raises(ValueError, match="product has shape"):
        packed_self_attention(torch.zeros(3, 3, 1, 4), [2])
