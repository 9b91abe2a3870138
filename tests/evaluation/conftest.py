"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Dataset, Histories
from tslrec_min.recommenders.train import train

from .factories import N_ITEMS

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Fifty users of 1 to 12 items; some items are popular, some are equally so, some are in no training history."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 13, size=50)
    weights = 1 / np.arange(1, N_ITEMS + 1)
    items = random.choice(np.arange(1, N_ITEMS + 1), size=lengths.sum(), p=weights / weights.sum()).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    user_ids, item_ids = [f"u{user}" for user in range(50)], [f"i{item}" for item in range(N_ITEMS)]
    return Dataset(Histories(indptr, items), user_ids, item_ids, [""] * N_ITEMS)


@pytest.fixture(scope="session")
def runs(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    found = []
    for seed, epochs in ((0, 1), (1, 1), (2, 4)):
        config = TrainConfig(width=16, blocks=1, max_len=8, batch_size=32, epochs=epochs, seed=seed,
                             learning_rate=5e-3 if epochs > 1 else 1e-3)
        train(cycle, folder / f"run{seed}", config, device=CPU, threads=1)
        found.append(folder / f"run{seed}")
    return found
