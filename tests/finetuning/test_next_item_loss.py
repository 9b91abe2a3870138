"""The loss of next items and its gradient, against autograd in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tslrec_min.data.csr import offsets
from tslrec_min.data.dataset import Histories
from tslrec_min.finetuning import next_item_loss as module
from tslrec_min.finetuning.next_item_loss import next_item_loss
from tslrec_min.finetuning.next_items import NextItems

N_ITEMS, WIDTH = 12, 5


def data_of(seed: int, *, with_counts: bool) -> NextItems:
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 15, 20)
    histories = Histories(offsets(lengths), random.integers(1, N_ITEMS + 1, lengths.sum()).astype(np.int32))
    return NextItems.of(histories, N_ITEMS, np.arange(20), with_counts=with_counts)


def reference(data: NextItems, rows: np.ndarray, weights: np.ndarray, table: torch.Tensor, factors: torch.Tensor
              ) -> torch.Tensor:
    """The definition, place by place."""
    losses = []
    for row, weight in zip(rows, weights, strict=True):
        contexts, recency = data.contexts(np.array([row]))
        read = torch.from_numpy(contexts.items.astype(np.int64))
        z = (torch.from_numpy(recency).double()[:, None] * table[read]).sum(dim=0)
        scores = factors[0] * table @ (z / z.norm()) + factors[2] * torch.from_numpy(data.log_shares).double()
        counted = data.counted(np.array([row]), 1)
        if counted is not None:
            dense = torch.zeros(N_ITEMS + 1, dtype=torch.float64)
            dense[torch.from_numpy(counted.items.astype(np.int64))] = torch.from_numpy(counted.values).double()
            scores = scores + factors[1] * dense
        target = int(data.targets[row])
        allowed = torch.ones(N_ITEMS + 1, dtype=torch.bool)
        allowed[0] = False
        allowed[read] = False
        allowed[target] = True
        losses.append(weight * -torch.log_softmax(scores.masked_fill(~allowed, -torch.inf), dim=0)[target])
    return torch.stack(losses).sum()


@pytest.mark.parametrize("with_counts", [True, False])
@pytest.mark.parametrize("at_once", [7, 512])
def test_loss_and_gradient_are_those_of_autograd(monkeypatch: pytest.MonkeyPatch, with_counts: bool, at_once: int
                                                 ) -> None:
    monkeypatch.setattr(module, "_PLACES_AT_ONCE", at_once)
    data = data_of(3, with_counts=with_counts)
    random = np.random.default_rng(0)
    rows, torch_random = random.permutation(len(data))[:40], torch.Generator().manual_seed(0)
    weights = random.uniform(0.5, 2, len(rows))
    table = torch.nn.functional.normalize(torch.randn(N_ITEMS + 1, WIDTH, generator=torch_random).double(), dim=1)
    table[0] = 0
    table.requires_grad_(True)
    factors = torch.tensor([4.0, 1.3, 0.4], dtype=torch.float64, requires_grad=True)
    expected = reference(data, rows, weights, table, factors)
    expected.backward()
    found = next_item_loss(data, rows, weights, table.detach().float(), factors.detach().float(), threads=2)
    assert found.loss == pytest.approx(expected.item(), rel=1e-5)
    assert table.grad is not None and factors.grad is not None
    assert found.table.numpy() == pytest.approx(table.grad.numpy(), abs=2e-4)
    assert found.factors.numpy() == pytest.approx(factors.grad.numpy() * [1, with_counts, 1], rel=1e-4, abs=1e-4)


def test_without_vectors_scores_are_those_of_counts() -> None:
    data = data_of(5, with_counts=True)
    rows = np.arange(len(data))
    found = next_item_loss(data, rows, np.ones(len(rows)), torch.zeros(N_ITEMS + 1, 1), torch.tensor([1.0, 0.0, 0.0]),
                           threads=1)
    candidates = []
    for row in rows:  # all items but those that the forecast reads
        read = set(data.contexts(np.array([row]))[0].items.tolist()) - {int(data.targets[row])}
        candidates.append(N_ITEMS - len(read))
    assert found.loss == pytest.approx(np.log(candidates).sum(), rel=1e-5)
