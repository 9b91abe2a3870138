from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tslrec_min.llm.attention import attention
from tslrec_min.llm.elementwise import rms_norm
from tslrec_min.llm.prompt_layout import prompt_layout

from ..robustness.kernel_inputs import CPU, FUZZ, arrays, check
from .factories import _Rotated, angles, gradient_of, normal, same, wide_rotated

pytestmark = pytest.mark.kernel
EPS = 1e-6


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
