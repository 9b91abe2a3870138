from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tslrec_min.categories.artifact import load_categories
from tslrec_min.categories.pretrain import pretrain
from tslrec_min.configs import PretrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.storage.artifacts import read_json

from ..factories import LEARNING

CPU = torch.device("cpu")


def test_pretrain_writes_categories(cycle: Path, tmp_path: Path) -> None:
    pretrain(cycle, tmp_path / "pre", PretrainConfig(categories=4, **LEARNING | {"epochs": 2}), device=CPU, threads=1)
    dataset, dataset_hash = load_dataset(cycle)
    categories, _ = load_categories(tmp_path / "pre", dataset, dataset_hash)
    assert categories.n_categories == 4 and set(categories.labels[1:]) == set(range(4)) and categories.labels[0] == -1
    assert sum(read_json(tmp_path / "pre" / "metrics.json")["categories"]["sizes"]) == dataset.n_items
    with pytest.raises(TslrecError, match="another data set"):
        load_categories(tmp_path / "pre", dataset, "0" * 64)
