from __future__ import annotations

import math

import pytest
import torch

from tslrec_min.finetuning.losses import constant_loss, preference_loss


def test_preference_losses() -> None:
    outputs = torch.tensor([[1.0, 0.0, -1.0], [0.2, 0.3, 0.5]])
    wanted = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    soft = torch.softmax(outputs, dim=1)
    cross = [-sum(float(wanted[u, k]) * math.log(soft[u, k]) for k in range(3)) for u in range(2)]
    entropy = [-sum(p * math.log(p) for p in row.tolist() if p > 0) for row in wanted]
    assert preference_loss(outputs, wanted, "ce").tolist() == pytest.approx(cross, abs=1e-6)
    assert preference_loss(outputs, wanted, "kl").tolist() == pytest.approx(
        [c - h for c, h in zip(cross, entropy, strict=True)], abs=1e-6)
    assert preference_loss(outputs, wanted, "mse").tolist() == pytest.approx([(0.25 + 0.25 + 1) / 3, 0.0], abs=1e-6)


@pytest.mark.parametrize("name", ["mse", "kl", "ce"])
def test_no_constant_is_better_than_the_mean(name: str) -> None:
    torch.manual_seed(0)
    wanted = torch.softmax(torch.randn(50, 6), dim=1)
    best = constant_loss(wanted, wanted.mean(dim=0), name).mean()
    for _ in range(20):
        other = torch.softmax(torch.randn(6), dim=0)
        assert constant_loss(wanted, other, name).mean() > best
