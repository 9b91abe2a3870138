from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import examine, prepare

from ..factories import write_plain


def test_examining_writes_nothing_and_says_what_preparing_does(tmp_path: Path) -> None:
    raw = write_plain(tmp_path / "raw")
    before = sorted(tmp_path.rglob("*"))
    config = PrepareConfig(min_rating=1, cold_items=0.2, split="temporal", validation_share=0.2, test_share=0.2)
    found = examine(raw, config)
    assert sorted(tmp_path.rglob("*")) == before
    assert found == prepare(raw, tmp_path / "d", config) == json.loads((tmp_path / "d" / "dataset.json").read_text())
    lengths = np.diff(load_dataset(tmp_path / "d")[0].histories.indptr)
    assert found["median_length"] == np.median(lengths) and found["mean_length"] == pytest.approx(lengths.mean())
