from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders import _full_softmax
from tslrec_min.recommenders.full_softmax import full_softmax

from .. import _reference as reference

pytestmark = pytest.mark.kernel
INSTRUCTION_SETS = range(len(_full_softmax.instruction_sets()))
EPS = np.finfo(np.float32).eps
SHAPES = {  # rows, items, width
    "one of each": (1, 1, 1),
    "one row": (1, 300, 16),
    "one item": (100, 1, 8),
    "less than a tile": (5, 7, 3),
    "a block": (96, 96, 32),
    "one more than a block": (97, 97, 33),
    "two chunks": (390, 200, 5),
    "an unfinished segment": (50, 1700, 20),
}


def problem(n_rows, n_items, width, seed, scale=1.0):
    """Random states, items and targets, some of which are several rows' own; scores are about `scale` large."""
    rng = np.random.default_rng(seed)
    states = torch.from_numpy(rng.normal(size=(n_rows, width)).astype(np.float32))
    items = torch.from_numpy((rng.normal(size=(n_items + 1, width)) * scale / width**0.5).astype(np.float32))
    return states, items, torch.from_numpy(rng.integers(1, max(1, n_items // 3) + 1, size=n_rows))


def assert_near_the_reference(states, items, targets, found):
    """Errors of the docstring; scores themselves, and so losses and e^score, have that of a sum of rounded products."""
    wide = [part.double().numpy() for part in (states, items)]
    loss, *gradients = reference.full_softmax(*wide, targets.numpy())
    of_scores = EPS * (np.abs(wide[0]) @ np.abs(wide[1]).T).max(initial=0)
    assert abs(found[0] - loss) <= 1e-6 * loss + len(targets) * of_scores
    for one, other in zip(found[1:], gradients, strict=True):
        assert one.shape == other.shape and one.dtype == torch.float32 and one.is_contiguous()
        largest = np.abs(other).max(initial=0)
        assert np.abs(one.numpy() - other).max(initial=0) <= (1e-5 + 4 * of_scores) * largest + 1e-30
    assert not found[2][0].any()


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 300.0])
def test_shapes_equal_the_reference(name, isa, scale, monkeypatch):
    monkeypatch.setattr("tslrec_min.recommenders.full_softmax._ISA", isa)
    parts = problem(*SHAPES[name], seed=3, scale=scale)
    assert_near_the_reference(*parts, full_softmax(*parts))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 230), st.one_of(st.integers(1, 200), st.integers(700, 1500)), st.integers(1, 70),
       st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_any_problem_equals_the_reference(n_rows, n_items, width, scale, threads, seed):
    parts = problem(n_rows, n_items, width, seed, scale)
    assert_near_the_reference(*parts, full_softmax(*parts, threads))


def test_errors_of_usual_scores_are_those_of_the_docstring():
    states, items, targets = problem(400, 3000, 64, seed=1, scale=2.0)
    loss, *gradients = full_softmax(states, items, targets)
    expected, *wide = reference.full_softmax(states.double().numpy(), items.double().numpy(), targets.numpy())
    assert loss == pytest.approx(expected, rel=1e-6)
    for one, other in zip(gradients, wide, strict=True):
        assert np.abs(one.numpy() - other).max() < 1e-5 * np.abs(other).max()


def test_a_target_that_takes_nearly_all_keeps_its_small_loss_and_gradients():
    """1 - probability of the target is about 1e-9: taken from 1 in float32, nothing would be left of it."""
    items = torch.cat([torch.zeros(1, 8), torch.eye(8)]) * 6
    targets = torch.arange(1, 9)
    states = items[1:] * 0.6
    loss, *gradients = full_softmax(states, items, targets)
    expected, *wide = reference.full_softmax(states.double().numpy(), items.double().numpy(), targets.numpy())
    assert 0 < expected < 1e-7
    assert loss == pytest.approx(expected, rel=1e-5)
    for one, other in zip(gradients, wide, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_references_are_raised_again_and_again(isa, monkeypatch):
    """Scores rise along the items by thousands: each tile, and each segment, counts from another reference."""
    monkeypatch.setattr("tslrec_min.recommenders.full_softmax._ISA", isa)
    for step in (0.1, 1.0, -1.0, 8.0):
        items = step * torch.arange(1001.0)[:, None] * torch.ones(1, 4)
        states = torch.full((100, 4), 0.25) * torch.tensor([1.0, -1.0]).repeat(50)[:, None]  # exact in float32
        targets = torch.arange(1, 1001, 10)
        parts = states, items, targets
        assert_near_the_reference(*parts, full_softmax(*parts))


@pytest.mark.parametrize("shape", [(400, 1500, 40), (97, 97, 33), (1, 3000, 64)])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_number_of_threads_changes_nothing(shape, scale, monkeypatch):
    monkeypatch.setattr("tslrec_min.recommenders.full_softmax._THREAD_PRODUCTS", 1)
    parts = problem(*shape, seed=5, scale=scale)
    loss, *gradients = full_softmax(*parts)
    for threads in (2, 3, 5):
        again, *others = full_softmax(*parts, threads)
        assert again == loss and all(map(torch.equal, gradients, others))


def test_what_is_not_finite_is_seen_and_stays_in_its_row():
    states, items, targets = problem(100, 200, 8, seed=0)
    for value in (np.nan, np.inf):
        spoiled = states.clone()
        spoiled[7, 3] = value
        loss, by_states, by_items = full_softmax(spoiled, items, targets)
        assert np.isnan(loss) and by_states[7].isnan().any() and by_items.isnan().any()
        others = torch.arange(100) != 7
        assert torch.equal(by_states[others], full_softmax(states, items, targets)[1][others])
    assert np.isnan(full_softmax(states, torch.full_like(items, np.nan), targets)[0])


def test_layouts_and_views():
    states, items, targets = problem(50, 60, 12, seed=2)
    plain = full_softmax(states, items, targets)
    views = (states.T.contiguous().T, torch.cat([items, items], dim=1)[:, :12], targets.repeat_interleave(2)[::2])
    inputs = [part.clone() for part in views]
    found = full_softmax(*views)
    assert found[0] == plain[0] and all(map(torch.equal, found[1:], plain[1:]))
    assert all(map(torch.equal, inputs, views))  # inputs are left as they are


@pytest.mark.parametrize("change, message", [
    ({"states": torch.zeros(4, 3, dtype=torch.float64)}, "states is torch.float64 of shape"),
    ({"item_table": torch.zeros(6)}, r"item_table is torch.float32 of shape \(6,\)"),
    ({"targets": torch.ones(4, dtype=torch.int32)}, "targets is torch.int32"),
    ({"targets": torch.ones(3, dtype=torch.int64)}, "3 targets for 4 states"),
    ({"states": torch.zeros(4, 2)}, r"states are \(4, 2\)"), ({"item_table": torch.zeros(1, 3)}, "at least one item"),
    ({"targets": torch.tensor([1, 5, 0, 2])}, r"targets\[2\] is 0; expected 1..5"),
    ({"targets": torch.tensor([1, 5, 6, 2])}, r"targets\[2\] is 6; expected 1..5"),
    ({"num_threads": 0}, "num_threads is 0"),
])
def test_wrong_arguments_are_refused(change, message):
    arguments = {"states": torch.zeros(4, 3), "item_table": torch.zeros(6, 3),
                 "targets": torch.ones(4, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message):
        full_softmax(**arguments | change)
