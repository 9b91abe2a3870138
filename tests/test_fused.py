"""Element-wise operations and attention against their NumPy twins, their gradients against autograd's in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.llm import _llm_kernels
from tslrec_min.llm.attention import attention
from tslrec_min.llm.elementwise import (
    gated_gradient,
    gated_values,
    rms_norm,
    rms_norm_gradient,
    rms_norm_values,
    rotated,
)
from tslrec_min.llm.prompt_layout import prompt_layout

from . import _reference as reference

EPS = 1e-6
ACTIVATIONS = st.sampled_from(["silu", "gelu_tanh"])
SIZES = st.one_of(st.integers(1, 40), st.sampled_from([64, 100, 576]))
ROWS = st.integers(0, 9)


def normal(*shape, seed=0, spread=1.0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape) * spread).float()


def angles(rows, half):
    found = normal(rows, half, seed=9, spread=3.0)
    found = torch.cat([found, found], dim=-1)
    return found.cos(), found.sin()


def same(found, wide, terms=1.0):
    """Float32 equals what the definition gives in float64, to 1e-5 of the value or a rounding of the largest one.

    `terms`: the largest of the numbers that were added up; where they cancel, their roundings stay.
    """
    wide = torch.as_tensor(wide)
    assert found.dtype == torch.float32 and found.shape == wide.shape and found.is_contiguous()
    atol = 1e-6 * max(1.0, terms, wide.abs().max().item()) if wide.numel() else 0
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=atol)


def gradient_of(function, at, d_out):
    at = at.detach().requires_grad_()
    return torch.autograd.grad(function(at), at, d_out)[0]


def wide_norm(weight, eps=EPS):
    return lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def wide_gated(activation):
    def function(gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        u = (2 / torch.pi) ** 0.5 * (gate + 0.044715 * gate**3)
        return (gate * torch.sigmoid(gate) if activation == "silu" else 0.5 * gate * (1 + torch.tanh(u))) * up
    return function


class _Rotated(torch.autograd.Function):
    """With a graph: turning back is the gradient."""

    @staticmethod
    def forward(ctx, heads, cos, sin):
        ctx.save_for_backward(cos, sin)
        return rotated(heads, cos, sin)

    @staticmethod
    def backward(ctx, d_out):
        return rotated(d_out, *ctx.saved_tensors, inverse=True), None, None


def wide_rotated(cos, sin):
    def function(x):
        left, right = x.chunk(2, dim=-1)
        return x * cos[:, None] + torch.cat([-right, left], dim=-1) * sin[:, None]
    return function


@settings(max_examples=60, deadline=None)
@given(ROWS, SIZES, st.sampled_from([1e-3, 1.0, 300.0]))
def test_rms_norm(rows, width, spread):
    states, weight, d_out = normal(rows, width, spread=spread), normal(width, seed=1), normal(rows, width, seed=2)
    same(rms_norm(states, weight, EPS), reference.rms_norm(states.double().numpy(), weight.double().numpy(), EPS))
    out, inverse_rms = rms_norm_values(states, weight, EPS)
    same(inverse_rms, torch.rsqrt(states.double().square().mean(-1) + EPS))
    ours = gradient_of(lambda x: rms_norm(x, weight, EPS), states, d_out)
    terms = (d_out * weight * inverse_rms[:, None]).abs().max().item() if rows else 1.0  # in one column they cancel
    same(ours, gradient_of(wide_norm(weight.double()), states.double(), d_out.double()), terms)
    assert torch.equal(ours, rms_norm_gradient(d_out, states, weight, inverse_rms))
    assert torch.equal(out, rms_norm(states, weight, EPS))


@settings(max_examples=60, deadline=None)
@given(ROWS, SIZES, ACTIVATIONS, st.sampled_from([0.01, 1.0, 10.0]))
def test_gated(rows, width, activation, spread):
    gate_up, d_out = normal(rows, 2 * width, spread=spread), normal(rows, width, seed=2)
    same(gated_values(gate_up, activation), reference.gated(gate_up.double().numpy(), activation))
    ours = gated_gradient(d_out, gate_up, activation)
    same(ours, gradient_of(wide_gated(activation), gate_up.double(), d_out.double()))


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 5), st.integers(1, 40), st.integers(0, 3), st.integers(0, 3))
def test_rotated_also_of_a_part_of_a_wider_product(rows, count, half, before, after):
    size = 2 * half
    product, (cos, sin) = normal(rows, (before + count + after) * size), angles(rows, half)
    heads = product[:, before * size:(before + count) * size].unflatten(1, (count, size))
    d_out = normal(rows, count, size, seed=2)
    same(rotated(heads, cos, sin), reference.rotated(*(x.double().numpy() for x in (heads, cos, sin))))
    ours = rotated(d_out, cos, sin, inverse=True)
    same(ours, gradient_of(wide_rotated(cos.double(), sin.double()), heads.double(), d_out.double()))
    there = rotated(heads, cos, sin)
    torch.testing.assert_close(rotated(there, cos, sin, inverse=True), heads)


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_activations_are_as_good_as_float32_allows(activation):
    gate = torch.cat([torch.linspace(-50, 50, 100_001), torch.linspace(-0.01, 0.01, 2001)])
    found = gated_values(torch.stack([gate, torch.ones_like(gate)], dim=1), activation)[:, 0].double()
    gate = gate.double()
    z = gate if activation == "silu" else 2 * (2 / torch.pi) ** 0.5 * (gate + 0.044715 * gate**3)
    wide = gate * torch.sigmoid(z)
    seen = wide.abs() > 1e-30
    # exp(-z) turns the relative error of z, of some roundings, into |z| times as much; SiLU's z is the gate, exactly
    roundings = 4 + (0 if activation == "silu" else 3 * z.abs())
    assert ((found - wide).abs() <= roundings * 2**-23 * wide.abs())[seen].all()
    assert (found[~seen].abs() < 1e-30).all()


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_extreme_gates(activation):
    gate = torch.tensor([0.0, -0.0, 200.0, -200.0, 1e4, -1e4, 1e38, -1e38, 87.5, -87.5] * 3)  # more than one vector
    up, d_out = torch.full_like(gate, 0.5), torch.ones(len(gate), 1)
    gate_up = torch.stack([gate, up], dim=1)
    torch.testing.assert_close(gated_values(gate_up, activation)[:, 0], gate.clamp(min=0) / 2, rtol=1e-6, atol=1e-30)
    slope = torch.where(gate == 0, 0.5, (gate > 0).float())
    expected = torch.stack([slope / 2, gate.clamp(min=0)], dim=1)
    torch.testing.assert_close(gated_gradient(d_out, gate_up, activation), expected, rtol=1e-6, atol=1e-30)
    # all on one row, so that they share vectors
    row = torch.cat([gate, up])[None]
    assert torch.equal(gated_values(row, activation)[0], gated_values(gate_up, activation)[:, 0])


def test_nan_stays():
    gate_up = torch.tensor([[float("nan"), 1.0, 1.0, 2.0]])
    assert gated_values(gate_up, "silu").isnan().tolist() == [[True, False]]
    assert gated_gradient(torch.ones(1, 2), gate_up, "silu").isnan().tolist() == [[True, False, True, False]]
    assert rms_norm(torch.tensor([[1.0, float("nan")], [1.0, 1.0]]), torch.ones(2), EPS).isnan().all(1).tolist() == [
        True, False]


def test_a_row_of_zeros_has_a_finite_norm_and_gradient():
    states, weight, d_out = torch.zeros(1, 20), normal(20), normal(1, 20, seed=2)
    assert torch.equal(rms_norm(states, weight, EPS), states)
    same(gradient_of(lambda x: rms_norm(x, weight, EPS), states, d_out), d_out.double() * weight.double() * EPS**-0.5)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr("tslrec_min.llm.elementwise._THREAD_ELEMENTS", 1000)  # else too few for two threads
    rows, (cos, sin) = 301, angles(301, 32)
    states, weight, gate_up, heads = normal(rows, 576), normal(576), normal(rows, 1000), normal(rows, 9, 64)

    def everything():
        out, inverse_rms = rms_norm_values(states, weight, EPS)
        return [out, inverse_rms, rms_norm_gradient(states.flip(0), states, weight, inverse_rms),
                gated_values(gate_up, "silu"), gated_values(gate_up, "gelu_tanh"),
                gated_gradient(gate_up[:, 300:800], gate_up, "silu"), rotated(heads, cos, sin)]

    before = torch.get_num_threads()
    try:
        found = {}
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = everything()
    finally:
        torch.set_num_threads(before)
    for one, two, three in zip(*found.values(), strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    alone = rms_norm(states[7:8], weight, EPS)  # nor on the rows beside
    assert torch.equal(alone, found[1][0][7:8])


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


def test_layouts_of_a_model():
    """Batched states, gradients that come transposed or expanded, a product that goes on to q, k and v."""
    states, weight = normal(2, 5, 12), normal(12, seed=1)
    assert torch.equal(rms_norm(states, weight, EPS).view(10, 12), rms_norm(states.view(10, 12), weight, EPS))
    d_out = normal(12, 5, 2, seed=3).transpose(0, 2)
    assert torch.equal(gradient_of(lambda x: rms_norm(x, weight, EPS), states, d_out),
                       gradient_of(lambda x: rms_norm(x, weight, EPS), states, d_out.contiguous()))
    (cos, sin), product = angles(4, 3), normal(4, 18)

    def attention(x):
        q, k = x[:, :12].unflatten(1, (2, 6)), x[:, 12:].unflatten(1, (1, 6))
        turned = (_Rotated.apply(q, cos, sin), _Rotated.apply(k, cos, sin)) if x.dtype == torch.float32 else (
            wide_rotated(cos.double(), sin.double())(part) for part in (q, k))
        return sum(part.square().sum(2).prod(1).sum() + part[..., 0].sum() for part in turned)

    same(gradient_of(attention, product, None), gradient_of(attention, product.double(), None))


def test_the_weight_is_frozen():
    states, weight = normal(3, 8).requires_grad_(), normal(8, seed=1).requires_grad_()
    for kind in (torch.float32, torch.bfloat16):
        weight.grad = None
        rms_norm(states.to(kind), weight.to(kind), EPS).float().sum().backward()
        assert weight.grad is None and states.grad is not None


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate_up, activation):
        ctx.save_for_backward(gate_up)
        ctx.activation = activation
        return gated_values(gate_up, activation)

    @staticmethod
    def backward(ctx, d_out):
        return gated_gradient(d_out, *ctx.saved_tensors, ctx.activation), None


@pytest.mark.parametrize("kind, tolerance", [(torch.bfloat16, 0.03), (torch.float16, 4e-3), (torch.float64, 1e-5)])
def test_other_types_are_left_to_torch(kind, tolerance):
    states, weight, gate_up, heads = normal(6, 32), normal(32, seed=1), normal(6, 64, seed=2), normal(6, 3, 16, seed=3)
    cos, sin = angles(6, 8)
    operations = [(states, lambda x: rms_norm(x, weight.to(x.dtype), EPS)),
                  (gate_up, lambda x: _WithGradient.apply(x, "silu")),
                  (gate_up, lambda x: _WithGradient.apply(x, "gelu_tanh")),
                  (heads, lambda x: _Rotated.apply(x, cos.to(x.dtype), sin.to(x.dtype)))]
    for at, operation in operations:
        d_out = torch.randn_like(operation(at))
        for found, expected in ((operation(at.to(kind)), operation(at)),
                                (gradient_of(operation, at.to(kind), d_out.to(kind)),
                                 gradient_of(operation, at, d_out))):
            assert found.dtype == kind
            torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind, tolerance", [(torch.bfloat16, 0.03), (torch.float64, 1e-5)])
def test_gradients_without_a_graph_of_other_types(kind, tolerance):
    states, weight, gate_up, heads = normal(6, 32), normal(32, seed=1), normal(6, 64, seed=2), normal(6, 3, 16, seed=3)
    (cos, sin), d_out = angles(6, 8), normal(6, 32, seed=4)

    def everything(as_):
        x, w, d, both = (part.to(as_) for part in (states, weight, d_out, gate_up))
        out, inverse_rms = rms_norm_values(x, w, EPS)
        return [out, rms_norm_gradient(d, x, w, inverse_rms), gated_values(both, "silu"),
                gated_gradient(d, both, "gelu_tanh"),
                rotated(heads.to(as_), cos.to(as_), sin.to(as_), inverse=True)]

    for found, expected in zip(everything(kind), everything(torch.float32), strict=True):
        assert found.dtype == kind and not found.requires_grad
        torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


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
