"""What all backbones have in common; each against its definition is in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from tslrec_min.recommenders.models import BACKBONES
from tslrec_min.recommenders.models.backbone import Backbone
from tslrec_min.recommenders.models.dropout import set_dropout
from tslrec_min.recommenders.models.sasrec import BLOCKS, SASRec

from .factories import batch, build

Make = Callable[[], Backbone]
ALL = [pytest.param(partial(build, kind), id=name) for name, kind in BACKBONES.items()] + [
    pytest.param(partial(build, SASRec, block=block), id=f"sasrec-{block}") for block in BLOCKS if block != "prenorm"]
NEXT = [make for make in ALL if make.values[0]().objective == "next"]
TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", ALL)
def test_states_are_finite_and_blind_to_padding(make: Make) -> None:
    model = make()
    rows = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6], [0] * 6]
    items, lengths = batch(*rows)
    lengths[-1] = 0
    together, final = model(items, lengths, TABLE), model.final_states(items, lengths, TABLE)
    assert together.shape == (5, 6, 16) and torch.isfinite(together).all() and torch.isfinite(final).all()
    for row, states, last in zip(rows[:-1], together, final, strict=False):
        torch.testing.assert_close(model(*batch(row), TABLE)[0], states[:len(row)])
        torch.testing.assert_close(model.final_states(*batch(row), TABLE)[0], last)


@pytest.mark.parametrize("make", NEXT)
def test_next_item_models_are_causal_and_end_with_the_last_state(make: Make) -> None:
    model, history = make(), [1, 2, 3, 4, 5, 6]
    whole = model(*batch(history), TABLE)
    for place in range(len(history)):
        other = model(*batch([*history[:place], 9, *history[place + 1:]]), TABLE)
        torch.testing.assert_close(other[:, :place], whole[:, :place])
        assert not torch.isclose(other[0, place:], whole[0, place:], atol=1e-4).all(dim=1).any()
    torch.testing.assert_close(model.final_states(*batch(history), TABLE), whole[:, -1])


@pytest.mark.parametrize("make", ALL)
def test_all_parameters_learn(make: Make) -> None:
    model, table = make().train(), TABLE.clone().requires_grad_()
    hidden = len(table) if model.objective == "cloze" else 5
    model(*batch([1, 2, hidden, 4], [3, 1]), table).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert table.grad[[1, 2, 4, 3]].any(dim=1).all() and not table.grad[0].any()


@pytest.mark.parametrize("make", ALL)
def test_dropout_follows_from_the_step_and_the_row_of_the_batch(make: Make) -> None:
    model, (items, lengths) = make().train(), batch([1, 2, 3], [4, 5, 6], [7, 8, 9])
    set_dropout(model, 1, 7, np.arange(3))
    whole = model(items, lengths, TABLE)
    set_dropout(model, 1, 7, np.array([2, 0]))  # another process has row 1
    torch.testing.assert_close(model(items[[2, 0]], lengths[[2, 0]], TABLE), whole[[2, 0]])
    set_dropout(model, 1, 8, np.arange(3))
    assert not torch.isclose(model(items, lengths, TABLE), whole).all(dim=2).any()


@pytest.mark.parametrize("make", ALL)
def test_bf16_products_change_states_by_rounding_alone(make: Make) -> None:
    model, (items, lengths) = make(), batch([1, 2, 3, 4, 5, 6], [7, 8, 9])
    exact = model(items, lengths, TABLE)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(items, lengths, TABLE)
    difference = (rounded.float() - exact)[lengths[:, None] > torch.arange(6)].norm()
    assert 0 < difference < 0.05 * exact.norm()
