"""Packed sequences give what padded ones do, in their states and in every gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders.models.backbone import Backbone
from tslrec_min.recommenders.models.bert4rec import BERT4Rec
from tslrec_min.recommenders.models.bsarec import BSARec
from tslrec_min.recommenders.models.dropout import set_dropout
from tslrec_min.recommenders.models.sasrec import SASRec

from .factories import build

TABLE = torch.randn(10, 24, generator=torch.Generator().manual_seed(1))
MODELS = {"sasrec": (SASRec, {}), "ligr": (SASRec, {"block": "ligr"}), "bert4rec": (BERT4Rec, {}),
          "bsarec": (BSARec, {})}


def made(name: str, **settings: int | float) -> Backbone:
    kind, own = MODELS[name]
    return build(kind, width=24, **own, **settings)


def results(model: Backbone, items: torch.Tensor, lengths: np.ndarray, packs: bool) -> list[torch.Tensor]:
    """Return the states of all items, and the gradients by the item table and all parameters."""
    dtype = next(model.parameters()).dtype
    table, real = TABLE.to(dtype).requires_grad_(), items > 0
    if packs:
        states = model.packed_states(items[real], lengths, table)
    else:
        states = model(items, torch.from_numpy(lengths), table)[real]
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    return [states.detach(), *torch.autograd.grad((states * weights).sum(), [table, *model.parameters()])]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([1, 2, 3, 8]),
       st.sampled_from(list(MODELS)), st.integers(1, 3), st.booleans())
def test_packed_is_padded(lengths: list[int], heads: int, name: str, threads: int, training: bool) -> None:
    model = made(name, heads=heads, max_len=40, dropout=0.4).train(training)
    assert model.packs(TABLE)
    sizes = np.array(lengths)
    items = torch.zeros(len(sizes), max(lengths), dtype=torch.long)
    real = torch.arange(max(lengths)) < torch.from_numpy(sizes)[:, None]
    items[real] = torch.arange(int(sizes.sum())) % (10 if model.objective == "cloze" else 9) + 1  # 10: a hidden item
    set_dropout(model, 3, 4, np.arange(len(sizes)) * 5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = results(model, items, sizes, True)
    finally:
        torch.set_num_threads(before)
    wanted = results(model, items, sizes, False)
    if not training:  # dropout is float32
        wanted = results(model.double(), items, sizes, False)
        assert not model.packs(TABLE)
    for ours, other in zip(found, wanted, strict=True):
        scale = other.abs().max().clamp_min(1.0)
        torch.testing.assert_close((ours / scale).double(), (other / scale).double(), atol=5e-5, rtol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_sequences_of_a_pack_don_t_see_each_other(name: str) -> None:
    model = made(name)
    items, lengths = torch.tensor([1, 2, 3, 4, 5, 6, 7]), np.array([3, 1, 3])
    states, changed = model.packed_states(items, lengths, TABLE), items.clone()
    changed[2] = 9
    after = model.packed_states(changed, lengths, TABLE)
    assert torch.equal(after[3:], states[3:]) and not torch.equal(after[2], states[2])
    assert torch.equal(after[:2], states[:2]) == (model.objective == "next")  # else they see both sides


def test_lengths_of_other_items() -> None:
    model = build(SASRec, width=24)
    with pytest.raises(ValueError, match="lengths has the sum 1; expected 5"):
        model.packed_states(torch.ones(5, dtype=torch.long), np.array([1]), TABLE)
    with pytest.raises(ValueError, match="lengths"):
        model.packed_states(torch.ones(1, dtype=torch.long), np.array([1, 0]), TABLE)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_can_be_taken_twice(name: str) -> None:
    model = made(name)
    loss = model.packed_states(torch.tensor([1, 2, 3]), np.array([2, 1]), TABLE).square().sum()
    first, second = (torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, allow_unused=True)
                     for _ in range(2))
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(first, second, strict=True))
