"""Counter-based dropout against its NumPy twin and as a layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders.models._dropout import drop_rows
from tslrec_min.recommenders.models.dropout import Dropout, set_dropout

from ... import _reference as reference
from ...robustness.kernel_inputs import FUZZ, arrays, check

pytestmark = pytest.mark.kernel

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**40), max_size=5), st.integers(0, 70), st.integers(0, 2**64 - 1),
       st.sampled_from([0.0, 0.1, 0.5, 0.95]), st.sampled_from([1, 2, 4]))
def test_kernel_equals_the_reference(rows, columns, key, rate, threads):
    values = np.random.default_rng(0).standard_normal((len(rows), columns)).astype(np.float32)
    out = np.full_like(values, np.nan)
    drop_rows(values, out, np.array(rows, dtype=np.int64), key, round(rate * 2**32), 1 / (1 - rate), threads)
    np.testing.assert_array_equal(out, reference.dropped(values, key, rows, rate))


def layer(rows, rate=0.3, key=5):
    found = Dropout(rate).train()
    found.key, found.rows = key, np.array(rows)
    return found


def test_drops_as_often_as_asked_and_keeps_the_mean():
    values = torch.ones(64, 40, 50)
    dropped = layer(range(64))(values)
    assert abs((dropped == 0).float().mean() - 0.3) < 0.005  # 128,000 draws: 0.0013 is one standard deviation
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    for axis in (0, 1, 2):  # no row, position or column is favoured
        rest = [dim for dim in range(3) if dim != axis]
        assert ((dropped == 0).float().mean(dim=rest) - 0.3).abs().max() < 0.05
    flat = (dropped == 0).float().flatten() - 0.3
    assert abs((flat[1:] * flat[:-1]).mean()) < 0.005 and abs((flat[50:] * flat[:-50]).mean()) < 0.005


def test_gradient_goes_where_the_values_went():
    values = torch.randn(4, 3, 8, requires_grad=True)
    dropped = layer(range(4))(values)
    dropped.backward(torch.full_like(dropped, 2.0))
    assert torch.equal(values.grad == 0, dropped == 0)
    torch.testing.assert_close(values.grad * values, 2 * dropped)


def test_parts_of_a_batch_draw_what_the_whole_does():
    values = torch.randn(6, 5, 4)
    whole = layer(range(6))(values)
    for rows in ([0, 1], [5, 2, 3]):
        assert torch.equal(layer(rows)(values[rows]), whole[rows])
    assert torch.equal(layer(range(6))(values[:, :2]), whole[:, :2])  # a narrower part
    assert not torch.equal(layer(range(6), key=6)(values), whole)
    transposed = values.transpose(1, 2).contiguous().transpose(1, 2)  # not contiguous
    assert torch.equal(layer(range(6))(transposed), whole)


def test_off_outside_training_and_at_rate_0():
    values = torch.randn(2, 3)
    assert torch.equal(layer(range(2)).eval()(values), values)
    assert torch.equal(layer(range(2), rate=0.0)(values), values)


def test_every_layer_and_step_has_its_own_key():
    model = torch.nn.Sequential(Dropout(0.1), torch.nn.Linear(2, 2), Dropout(0.1))
    keys = set()
    for seed, step in ((0, 0), (0, 1), (1, 0)):
        set_dropout(model, seed, step, np.array([3, 1]))
        keys |= {model[0].key, model[2].key}
        assert model[0].rows.tolist() == model[2].rows.tolist() == [3, 1]
    assert len(keys) == 6
    with pytest.raises(ValueError):
        drop_rows(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1, dtype=np.int64), 0, 0, 1.0, 1)  # float64


@FUZZ
@given(arrays(), st.integers(0, 4), st.integers(0, 5))
def test_dropout(rows, count, columns):
    layer = Dropout(0.5)
    layer.rows, layer.key = rows, 2**64 - 1
    check(lambda array: (setattr(layer, "rows", array), layer(torch.ones(count, columns)))[1], rows)


def test_dropout_of_rows_that_are_not_the_batch():
    layer = Dropout(0.5)
    layer.rows = np.arange(2)
    with pytest.raises(ValueError, match="rows has 2 entries; expected 4"):
        layer(torch.ones(4, 3))
    layer.rows = None
    assert layer(torch.ones(0, 3)).shape == (0, 3)
