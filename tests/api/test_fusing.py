from __future__ import annotations

from pathlib import Path

import pytest

import tslrec_min
from tslrec_min.errors import TslrecError
from tslrec_min.storage.artifacts import open_artifact


def test_parts_can_be_given_by_name_or_as_on_the_command_line(cold: Path, trained: Path, tmp_path: Path) -> None:
    ways = [{"linear": trained / "linear", "t": "transitions", "text": trained / "embed"},
            ["t=transitions", f"text={trained / 'embed'}", trained / "linear"]]
    made = [tslrec_min.fuse(cold, parts, tmp_path / str(way), threads=1) for way, parts in enumerate(ways)]
    assert made[0].metrics == made[1].metrics and [row["name"] for row in made[0].rows] == ["linear", "t", "text"]
    hashes = {open_artifact(tmp_path / str(way), "train").hash for way in range(2)}
    assert len(hashes) == 1
    reused = tslrec_min.fuse(cold, ways[0], tmp_path / "1", threads=1, existing="reuse")
    assert reused.metrics == made[0].metrics
    again = tslrec_min.fuse(cold, ways[0], tmp_path / "again", threads=1, weights_from=tmp_path / "0")
    assert again.metrics == made[0].metrics | {"weights_from": "0"}
    report = tslrec_min.evaluate(cold, {"sum": tmp_path / "0", "linear": trained / "linear"}, threads=1, resamples=50)
    assert report.metrics["arms"]["sum"]["filtered"]["ndcg@10"]["mean"] > 0.7
    assert len(tslrec_min.recommend(cold, tmp_path / "0", users=["u1"], k=3, threads=1)) == 3


def test_what_is_no_sum_is_said(cold: Path, tmp_path: Path) -> None:
    for parts, message in ((["transition", "popularity"], "did you mean transitions"), ("popularity", "at least two"),
                           ({"a": "popularity"}, "at least two"), ([], "got the parts: none"),
                           (["popularity", "popularity"], "two parts are called 'popularity'")):
        with pytest.raises(TslrecError, match=message):
            tslrec_min.fuse(cold, parts, tmp_path / "out", threads=1)
    with pytest.raises(ValueError, match="expected one of refuse, overwrite, reuse"):
        tslrec_min.fuse(cold, ["popularity", "itemknn"], tmp_path / "out", existing="replace")


def test_without_training_the_only_row_has_the_constants(cold: Path, tmp_path: Path) -> None:
    made = tslrec_min.train(cold, tmp_path / "counted", model="transitions", threads=1)
    assert made.rows == [{**made.metrics["constants"], "validation_ndcg@10": made.metrics["validation_ndcg@10"]}]
    assert tslrec_min.train(cold, tmp_path / "popular", model="popularity", threads=1).rows[0].keys() == {
        "validation_ndcg@10"}
