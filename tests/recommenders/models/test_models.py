"""The backbones: what all have in common, and each against its definition."""

from __future__ import annotations

import pytest
import torch

from tslrec_min.recommenders.models import BACKBONES
from tslrec_min.recommenders.models.backbone import Backbone

from .factories import batch, build

TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", BACKBONES.values())
def test_states_are_finite_and_blind_to_padding(kind: type[Backbone]) -> None:
    model = build(kind)
    rows = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6], [0] * 6]
    items, lengths = batch(*rows)
    lengths[-1] = 0
    together, final = model(items, lengths, TABLE), model.final_states(items, lengths, TABLE)
    assert together.shape == (5, 6, 16) and torch.isfinite(together).all() and torch.isfinite(final).all()
    for row, states, last in zip(rows[:-1], together, final, strict=False):
        torch.testing.assert_close(model(*batch(row), TABLE)[0], states[:len(row)])
        torch.testing.assert_close(model.final_states(*batch(row), TABLE)[0], last)


@pytest.mark.parametrize("kind", [kind for kind in BACKBONES.values() if kind.objective == "next"])
def test_next_item_models_are_causal_and_end_with_the_last_state(kind: type[Backbone]) -> None:
    model = build(kind)
    whole = model(*batch([1, 2, 3, 4]), TABLE)
    other = model(*batch([1, 2, 3, 9]), TABLE)
    torch.testing.assert_close(other[:, :3], whole[:, :3])
    assert not torch.allclose(other[:, 3], whole[:, 3])
    torch.testing.assert_close(model.final_states(*batch([1, 2, 3, 4]), TABLE), whole[:, -1])


@pytest.mark.parametrize("kind", BACKBONES.values())
def test_all_parameters_learn(kind: type[Backbone]) -> None:
    model, table = build(kind).train(), TABLE.clone().requires_grad_()
    hidden = len(table) if kind.objective == "cloze" else 5
    model(*batch([1, 2, hidden, 4], [3, 1]), table).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert table.grad[[1, 2, 4, 3]].any(dim=1).all() and not table.grad[0].any()
