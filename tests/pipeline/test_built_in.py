from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.errors import TslrecError
from tslrec_min.pipeline.built_in import DENSE, QUICKSTART, SPARSE, built_in, config_for, fitting
from tslrec_min.storage.artifacts import read_json


@pytest.mark.parametrize(("name", "arms"), [(QUICKSTART, 14), (SPARSE, 9), (DENSE, 10)])
def test_all_load(name: str, arms: int) -> None:
    config = built_in(name)
    assert len(config.arms) == arms and config.seeds == [0, 1, 2] and config.serving
    assert config.arms[0].name == "without training" and config.arms[-1].name == "system"


def test_long_histories_get_the_dense_configuration() -> None:
    assert fitting({"mean_length": 8.9}) == fitting({"mean_length": 52.0}) == SPARSE
    assert fitting({"mean_length": 52.1}) == fitting({"mean_length": 165.5}) == DENSE


def test_interactions_are_prepared_once_and_as_asked(cycle_raw: Path, tmp_path: Path) -> None:
    config = config_for(cycle_raw, None, PrepareConfig(k_core=2), tmp_path / "out")
    assert config.stages["prepare"].k_core == 2 and config.stages["train"] == built_in(SPARSE).stages["train"]
    assert read_json(tmp_path / "out" / "dataset" / "dataset.json")["k_core"] == 2


def test_missing_interactions_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TslrecError):
        config_for(tmp_path / "nothing.csv", None, PrepareConfig(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
