"""The configured losses: what they add up to, and where their negatives come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Histories
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.negatives import Objective

N_ITEMS, CPU = 30, torch.device("cpu")
RANDOM = np.random.default_rng(0)
TRAINING = Histories(np.arange(0, 241, 6), RANDOM.choice(np.arange(1, N_ITEMS + 1), 240, p=np.arange(30, 0, -1) / 465))


def call(config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray, torch.Tensor]:
    """Return the loss of all targets but each user's first item, and what it is of."""
    torch.manual_seed(0)
    positions = np.flatnonzero(np.arange(240) % 6)
    targets, users = TRAINING.items[positions], positions // 6
    states, table = torch.randn(len(targets), 8), 0.5 * torch.randn(N_ITEMS + 1, 8)
    objective = Objective(TRAINING, N_ITEMS, config, CPU, 1)
    loss = objective(states, table, targets, users, positions, targets, epoch=1, step=3)
    return states, table, torch.from_numpy(targets), users, loss


@pytest.mark.parametrize("sampling", ["uniform", "popularity", "shared", "batch"])
def test_many_corrected_negatives_are_the_full_softmax_over_what_can_be_drawn(sampling: str) -> None:
    states, table, targets, users, loss = call(TrainConfig(loss="sampled", negatives=20_000, sampling=sampling))
    scores = states @ table.T
    expected = torch.zeros(())
    for row, target, user in zip(scores, targets, users, strict=True):
        items = torch.arange(1, N_ITEMS + 1)
        if sampling in ("uniform", "popularity"):
            items = items[~torch.isin(items, torch.from_numpy(TRAINING.of(user))) | (items == target)]
        if sampling == "popularity":  # items that nobody has had are never drawn
            items = items[torch.isin(items, torch.from_numpy(TRAINING.items))]
        if sampling == "batch":
            items = items[torch.isin(items, targets)]
        expected = expected + torch.logsumexp(row[items], 0) - row[target]
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)


@pytest.mark.parametrize("sampling", ["uniform", "popularity", "shared", "batch"])
def test_few_negatives_without_correction_are_another_thing(sampling: str) -> None:
    """The binary losses take the scores as they are."""
    states, table, targets, _, loss = call(TrainConfig(loss="bce", negatives=20_000, sampling=sampling))
    positive = torch.nn.functional.logsigmoid((states * table[targets]).sum(dim=1)).sum() / 20_001
    assert loss + positive > 0 and torch.isfinite(loss)
    assert (loss + positive).item() == pytest.approx(
        -torch.nn.functional.logsigmoid(-(states @ table[1:].T)).mean(dim=1).sum().item(), rel=0.2)


def test_who_has_seen_everything_has_no_negatives() -> None:
    everything = Histories(np.array([0, 3]), np.array([1, 2, 3]))
    objective = Objective(everything, 3, TrainConfig(loss="bce", negatives=2), CPU, 1)
    one = np.array([0])
    with pytest.raises(TslrecError, match="user 0 has seen all 3 items.*--loss ce"):
        objective(torch.ones(1, 4), torch.ones(4, 4), np.array([2]), one, one, one, epoch=1, step=0)
