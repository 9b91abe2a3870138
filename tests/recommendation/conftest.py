"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tslrec_min.configs import MODELS, TrainConfig
from tslrec_min.recommenders.train import train

CPU = torch.device("cpu")
SMALL = {"width": 8, "blocks": 1, "max_len": 6, "epochs": 1, "units": 8}


@pytest.fixture(scope="session")
def runs(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a train artifact of every recommender."""
    folder = tmp_path_factory.mktemp("runs")
    for model in MODELS:
        train(cycle, folder / model, TrainConfig(model=model, **SMALL), device=CPU, threads=1)
    return folder
