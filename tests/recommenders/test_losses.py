"""Losses against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tslrec_min.recommenders import losses
from tslrec_min.recommenders.losses import binary_cross_entropy, full_softmax_loss, sampled_loss, sampled_softmax

M, WIDTH, ITEMS, K = 150, 6, 40, 5


@pytest.fixture
def case() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"states": torch.randn(M, WIDTH, requires_grad=True),
            "item_table": torch.randn(ITEMS + 1, WIDTH, requires_grad=True),
            "targets": torch.randint(1, ITEMS + 1, (M,))}


def gradients(loss: torch.Tensor, case: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, (case["states"], case["item_table"]))


def assert_equal_with_gradients(loss: torch.Tensor, expected: torch.Tensor, case: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-5)
    for found, wanted in zip(gradients(3 * loss, case), gradients(3 * expected, case), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1, 4 * ITEMS * 70, 1 << 30])  # 64 rows at least, 70, and all at once
def test_full_softmax_is_cross_entropy_over_all_items(case, chunk_bytes, kernel, monkeypatch) -> None:
    if not kernel:
        monkeypatch.setattr(losses, "_for_kernel", lambda *_: False)
    monkeypatch.setitem(losses.CHUNK_BYTES, "cpu", chunk_bytes)
    scores = case["states"] @ case["item_table"][1:].T
    expected = F.cross_entropy(scores, case["targets"] - 1, reduction="sum")
    loss = full_softmax_loss(**case)
    assert_equal_with_gradients(loss, expected, case)
    assert not gradients(full_softmax_loss(**case), case)[1][0].any()  # the padding row stays as it is


def test_full_softmax_of_other_types_is_left_to_torch(case) -> None:
    wide = {name: values.detach().double().requires_grad_() if values.is_floating_point() else values
            for name, values in case.items()}
    expected = full_softmax_loss(**wide)
    torch.testing.assert_close(full_softmax_loss(**case), expected.float(), rtol=1e-6, atol=0)
    for found, wanted in zip(gradients(full_softmax_loss(**case), case), gradients(expected, wide), strict=True):
        assert (found.dtype, wanted.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_full_softmax_of_no_position_is_zero(case) -> None:
    loss = full_softmax_loss(case["states"][:0], case["item_table"], case["targets"][:0])
    assert loss == 0 and not torch.autograd.grad(loss, case["item_table"])[0].any()


def test_full_softmax_in_bf16_is_close(case) -> None:
    exact = full_softmax_loss(**case)
    with torch.autocast("cpu", torch.bfloat16):
        rough = full_softmax_loss(**case)
    assert rough.dtype == torch.float32 and rough != exact
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)
    for found, wanted in zip(gradients(rough, case), gradients(exact, case), strict=True):
        assert F.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.999


def literal_scores(case, negatives, log_weights, offsets, shared):
    """Scores of each position's candidates, its target first; a shared negative that is the target is left out."""
    for position in range(M):
        target = int(case["targets"][position])
        others = [n for n in (negatives if shared else negatives[position]).tolist() if not shared or n != target]
        scores = case["item_table"][torch.tensor([target, *others])] @ case["states"][position]
        added = torch.zeros(len(others)) if log_weights is None else log_weights[others]
        yield scores + torch.cat([torch.zeros(1), added + (0 if offsets is None else offsets[position])])


@pytest.mark.parametrize("corrected", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["sampled", "bce", "gbce"])
def test_sampled_losses_are_their_formulas(case, name, shared, corrected, monkeypatch) -> None:
    monkeypatch.setitem(losses.CHUNK_BYTES, "cpu", 1)
    negatives = torch.randint(1, ITEMS + 1, (K,) if shared else (M, K))
    log_weights = torch.randn(ITEMS + 1) if corrected[0] else None
    offsets = torch.randn(M) if corrected[1] else None
    rate = K / (ITEMS - 1)
    beta = rate * (0.75 * (1 - 1 / rate) + 1 / rate) if name == "gbce" else 1.0
    expected = torch.zeros(())
    for scores in literal_scores(case, negatives, log_weights, offsets, shared):
        if name == "sampled":
            expected = expected - torch.log_softmax(scores, dim=0)[0]
        else:
            positive, others = torch.sigmoid(scores[0]), torch.sigmoid(scores[1:])
            expected = expected - (beta * positive.log() + (1 - others).log().sum()) / (K + 1)
    pair_loss = {"sampled": sampled_softmax, "bce": binary_cross_entropy(K),
                 "gbce": binary_cross_entropy(K, ITEMS, 0.75)}[name]
    loss = sampled_loss(case["states"], case["item_table"], case["targets"], negatives, pair_loss, log_weights, offsets)
    assert_equal_with_gradients(loss, expected, case)


def test_all_items_as_negatives_is_the_full_softmax(case) -> None:
    every = torch.arange(1, ITEMS + 1)
    loss = sampled_loss(case["states"], case["item_table"], case["targets"], every, sampled_softmax)
    torch.testing.assert_close(loss, full_softmax_loss(**case), atol=1e-3, rtol=1e-5)


def test_calibration_is_that_of_the_paper() -> None:
    scores = torch.tensor([0.3]), torch.tensor([[-0.2, 0.4]])
    plain = [binary_cross_entropy(2)(*scores), binary_cross_entropy(2, 1001, 0.0)(*scores)]
    assert plain[0] == plain[1]
    full = binary_cross_entropy(2, 1001, 1.0)(*scores)  # t = 1: beta is the sampling rate
    expected = -(0.002 * math.log(1 / (1 + math.exp(-0.3))) + math.log(1 / (1 + math.exp(-0.2)))
                 + math.log(1 / (1 + math.exp(0.4)))) / 3
    assert full.item() == pytest.approx(expected, abs=1e-6)
