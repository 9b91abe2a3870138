"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.recommenders.fuse import fuse
from tslrec_min.recommenders.fusion.parts import Part
from tslrec_min.recommenders.train import train

from ..factories import SMALL

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def summed(cold: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sum of one part of each kind: trained, counted, and vectors as they are."""
    out = tmp_path_factory.mktemp("sums") / "sum"
    fuse(cold, [Part("linear", trained / "linear"), Part("transitions", "transitions"),
                Part("text", trained / "embed")], out, device=CPU, threads=1)
    return out


@pytest.fixture(scope="session")
def refitted_run(cold: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned validation items."""
    out = tmp_path_factory.mktemp("refitted") / "linear"
    train(cold, out, TrainConfig(adapter="linear", refit="validation", **SMALL), embeddings_path=trained / "embed",
          device=CPU, threads=1)
    return out
