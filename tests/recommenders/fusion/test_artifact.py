from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.fusion.artifact import load_fusion, save_part, save_weights
from tslrec_min.recommenders.fusion.scorer import Weights
from tslrec_min.storage.artifacts import Artifact, open_artifact


def test_what_is_read_is_what_was_written(trained: Path, tmp_path: Path) -> None:
    weights, occurrences = Weights(np.array([1.5, -2.0]), np.array([0.25, 0.1]), 3.0), np.arange(20)
    parts = [open_artifact(trained / name, "train") for name in ("none", "linear")]
    for number, part in enumerate(parts):
        save_part(tmp_path, number, part)
    save_weights(tmp_path, ["a", "b"], weights, occurrences)
    found = load_fusion(Artifact(tmp_path, {}))
    assert found.weights.constant.tolist() == [1.5, -2.0] and found.weights.by_frequency.tolist() == [0.25, 0.1]
    assert found.weights.frequency == 3.0 and found.occurrences.tolist() == list(range(20))
    for part, again in zip(parts, found.parts, strict=True):
        assert (again.hash, again.config, again.record["inputs"]) == (part.hash, part.config, part.record["inputs"])
        for name in part.record["files"]:
            assert (again.path / name).read_bytes() == (part.path / name).read_bytes()
    assert [part["name"] for part in json.loads((tmp_path / "weights.json").read_text())["parts"]] == ["a", "b"]


@pytest.mark.parametrize("changed", [
    {"parts": [{"name": "a", "constant": 1.0}]}, {"parts": 3}, {"parts": []}, {"frequency": "much"},
    {"frequency": float("nan")}, {"parts": [{"constant": 1.0, "by_frequency": None}]}, []])
def test_a_file_of_another_form_is_named(summed: Path, tmp_path: Path, changed: Any) -> None:
    shutil.copytree(summed, tmp_path / "sum")
    stored = json.loads((summed / "weights.json").read_text())
    (tmp_path / "sum" / "weights.json").write_text(json.dumps(stored | changed if changed else []))
    with pytest.raises(TslrecError, match=r"weights\.json is not what tslrec fuse writes"):
        load_fusion(Artifact(tmp_path / "sum", {}))


@pytest.mark.parametrize("changed", [np.zeros(20), np.zeros((20, 1), np.int64), np.arange(-1, 19)])
def test_numbers_of_interactions_are_whole_and_one_for_each_item(summed: Path, tmp_path: Path, changed: np.ndarray
                                                                 ) -> None:
    shutil.copytree(summed, tmp_path / "sum")
    np.save(tmp_path / "sum" / "occurrences.npy", changed)
    with pytest.raises(TslrecError, match="expected a number of interactions, int64, for each item"):
        load_fusion(Artifact(tmp_path / "sum", {}))
