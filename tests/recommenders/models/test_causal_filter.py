"""The causal filter against its NumPy twin, its gradients against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders.models import _causal_filter, causal_filter
from tslrec_min.recommenders.models.bsarec import causal_low_pass

from ... import _reference as reference

pytestmark = pytest.mark.kernel
INSTRUCTION_SETS = range(len(_causal_filter.instruction_sets()))


def filtered(lengths: list[int], width: int, reach: int) -> list[torch.Tensor]:
    """The output, and the gradients by states and keep; the seed is fixed."""
    random = torch.Generator().manual_seed(3)
    states = torch.randn(sum(lengths), width, generator=random).requires_grad_()
    keep = torch.randn(width, generator=random).requires_grad_()
    weights, d_out = torch.randn(reach, generator=random), torch.randn(states.shape, generator=random)
    out = causal_filter.causal_filter(states, weights, keep, np.array(lengths))
    exact, exact_keep = states.detach().double().requires_grad_(), keep.detach().double().requires_grad_()
    low = torch.cat([torch.from_numpy(reference.lags(weights.double().numpy(), len(part))) @ part
                     for part in exact.split(lengths)])
    wanted = low + exact_keep * (exact - low)
    twin = reference.causal_filter(states.detach().double().numpy(), weights.double().numpy(),
                                   keep.detach().double().numpy(), lengths)
    np.testing.assert_allclose(wanted.detach(), twin, atol=1e-9)
    found = [out.detach(), *torch.autograd.grad(out, (states, keep), d_out)]
    for one, other in zip(found, (wanted.detach(), *torch.autograd.grad(wanted, (exact, exact_keep), d_out.double())),
                          strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5 * max(1, float(other.abs().max())), rtol=0)
    return found


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 70), st.integers(0, 3))
def test_filter_and_gradients_are_their_reference(isa: int, lengths: list[int], width: int, more: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_filter, "_ISA", isa)
        filtered(lengths, width, max(lengths) + more)


def test_results_do_not_depend_on_the_number_of_threads_nor_on_the_sequences_beside(monkeypatch) -> None:
    monkeypatch.setattr(causal_filter, "_THREAD_PRODUCTS", 1)
    before, found = torch.get_num_threads(), []
    lengths = [200, 1, 33, 7, 6, 5, 12, 13, 1, 200]
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(filtered(lengths, 24, 200))
    finally:
        torch.set_num_threads(before)
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    states, weights, keep = torch.randn(10, 24), torch.randn(9), torch.randn(24)
    together = causal_filter.causal_filter(states, weights, keep, np.array([3, 7]))
    assert torch.equal(causal_filter.causal_filter(states[3:], weights, keep, np.array([7])), together[3:])


def test_a_filter_of_bsarec_is_its_matrix() -> None:
    matrix, states = causal_low_pass(50, 5), torch.randn(50, 64)
    out = causal_filter.causal_filter(states, matrix[:, 0], torch.zeros(64), np.array([50]))
    torch.testing.assert_close(out, matrix @ states, atol=1e-6, rtol=1e-5)


def test_shapes_are_checked_before_the_kernel_sees_them() -> None:
    states, weights, keep = torch.zeros(5, 4), torch.zeros(3), torch.zeros(4)
    for lengths, message in (([4, 1], r"lengths\[0\] is 4; expected 1..3"), ([3, 2, 0], r"lengths\[2\] is 0"),
                             ([3, 1], r"states has shape \(5, 4\); expected \(4, 4\)")):
        with pytest.raises(ValueError, match=message):
            causal_filter.causal_filter(states, weights, keep, np.array(lengths))
    with pytest.raises(ValueError, match="states has shape"):
        causal_filter.causal_filter(states, weights, keep[:3], np.array([3, 2]))
    with pytest.raises(ValueError, match="states has shape"):
        causal_filter.causal_filter(states[0], weights, keep, np.array([3, 2]))
