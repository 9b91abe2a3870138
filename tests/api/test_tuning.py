from __future__ import annotations

from pathlib import Path

import pytest

import tslrec_min
from tslrec_min.errors import TslrecError


def test_a_search_gives_settings_for_training(cycle: Path, tmp_path: Path) -> None:
    tuned = tslrec_min.tune(cycle, tmp_path / "tuned", vary="dropout", trials=3, budget=1, width=8, max_len=8, epochs=2,
                            threads=1)
    assert [(row["trial"], row["rung"], row["epochs"]) for row in tuned.rows] == [(0, 0, 1), (1, 0, 1), (2, 0, 1)]
    assert {row["dropout"] for row in tuned.rows} == {trial["config"]["dropout"] for trial in tuned.metrics["trials"]}
    best = tslrec_min.train(cycle, tmp_path / "best", **tuned.metrics["best"]["settings"], threads=1)
    assert best.rows[0]["validation_ndcg@10"] == tuned.metrics["best"]["rungs"][0]["validation_ndcg@10"]
    with pytest.raises(TslrecError, match="tune: refit: 'all' is not one of none"):
        tslrec_min.tune(cycle, tmp_path / "other", refit="all")
