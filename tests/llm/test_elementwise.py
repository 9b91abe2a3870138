"""Element-wise operations and attention against their NumPy twins, their gradients against autograd's in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.llm.attention import attention, prompt_layout
from tslrec_min.llm.elementwise import (
    gated_gradient,
    gated_values,
    rms_norm,
    rms_norm_gradient,
    rms_norm_values,
    rotated,
)

from .. import _reference as reference
from ..robustness.kernel_inputs import CPU, FUZZ, tensors
from .factories import _Rotated, angles, gradient_of, normal, same, wide_rotated

pytestmark = pytest.mark.kernel
EPS = 1e-6
ACTIVATIONS = st.sampled_from(["silu", "gelu_tanh"])
SIZES = st.one_of(st.integers(1, 40), st.sampled_from([64, 100, 576]))
ROWS = st.integers(0, 9)


def wide_norm(weight, eps=EPS):
    return lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def wide_gated(activation):
    def function(gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        u = (2 / torch.pi) ** 0.5 * (gate + 0.044715 * gate**3)
        return (gate * torch.sigmoid(gate) if activation == "silu" else 0.5 * gate * (1 + torch.tanh(u))) * up
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


@FUZZ
@given(tensors(), tensors(), tensors(), st.sampled_from(("norm", "gated", "rotated", "attention")))
def test_operations_of_a_decoder(first, second, third, operation):
    layout = prompt_layout(1, [1, 2], CPU)  # 4 tokens
    calls = {"norm": lambda: rms_norm_values(first, second, 1e-6, third)[0],
             "gated": lambda: gated_values(first, "silu", second),
             "rotated": lambda: rotated(first, second, third),
             "attention": lambda: attention(first, second, third, layout, 1.0, None)}
    try:
        found = calls[operation]()
    except (ValueError, TypeError):
        return
    assert torch.isfinite(found.float()).all() or not first.shape[-1]
