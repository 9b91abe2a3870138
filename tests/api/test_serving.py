from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tslrec_min
from tslrec_min.cli import main
from tslrec_min.errors import TslrecError

from ..factories import N_ITEMS


@pytest.fixture(scope="module")
def trained(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(str(tslrec_min.train(cycle, tmp_path_factory.mktemp("api") / "run", epochs=1, width=8, threads=1).path))


def test_recommendations_are_those_of_the_command(cycle: Path, trained: Path, tmp_path: Path) -> None:
    words = ["recommend", str(cycle), str(trained), "-k", "3", "--titles", "--threads", "1"]
    assert CliRunner().invoke(main, [*words, "-o", str(tmp_path / "all.csv")]).exit_code == 0
    (tmp_path / "new.txt").write_text("0 i3 i4\n1 i7\n")
    given = CliRunner().invoke(main, [*words, "--histories", str(tmp_path / "new.txt"), "--format", "csv"]).stdout
    for text, rows in (((tmp_path / "all.csv").read_text(), tslrec_min.recommend(cycle, trained, k=3, threads=1)),
                       (given, tslrec_min.recommend(cycle, trained, histories=[["i3", "i4"], ["i7"]], k=3,
                                                    threads=1))):
        expected = list(csv.DictReader(io.StringIO(text)))
        assert [row | {"score": None, "rank": str(row["rank"])} for row in rows] == [
            row | {"score": None} for row in expected]
        assert [np.float32(row["score"]) for row in rows] == [np.float32(row["score"]) for row in expected]
    kept = tslrec_min.recommend(cycle, trained, users=("u3", "u1"), k=99, keep_seen=True, threads=1)
    assert [row["user"] for row in kept] == ["u3"] * N_ITEMS + ["u1"] * N_ITEMS


def test_what_can_not_be_recommended_is_said(cycle: Path, trained: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"users": ["u1", "nobody"]}, r"users\[1\]: the data set has no user 'nobody'"),
        ({"users": [7]}, "no user '7'"), ({"users": [("u1",)]}, "neither text nor a number"),
        ({"users": "u1"}, "expected a list of user ids"),
        ({"histories": {"me": ["i3", "x"]}}, r"histories\['me'\]: the data set has no item 'x'"),
        ({"histories": ["i3", "i4"]}, r"histories\[0\] is 'i3'; expected a list of item ids"),
        ({"histories": [[]]}, "has no item"), ({"users": ["u1"], "histories": [["i3"]]}, "both given"),
        ({"k": 0}, "k is 0"), ({"k": True}, "k is True"), ({"unknown": "drop"}, "expected refuse or skip")]
    for arguments, message in cases:
        with pytest.raises(TslrecError, match=message):
            tslrec_min.recommend(cycle, trained, threads=1, **arguments)
    rows = tslrec_min.recommend(cycle, trained, histories={"me": ["x"], "you": ["x", "i3"]}, unknown="skip", k=1,
                                threads=1)
    assert [row["user"] for row in rows] == ["you"]


def test_similar_items_are_those_of_the_command(cycle: Path, trained: Path) -> None:
    shown = CliRunner().invoke(main, ["similar", str(cycle), "i3", "i9", "--run", str(trained), "-k", "4", "--json"])
    expected = [{"item": of["item"], "rank": rank, "similar": near["item"], "title": near["title"],
                 "cosine": near["cosine"]}
                for of in json.loads(shown.stdout) for rank, near in enumerate(of["similar"], 1)]
    assert tslrec_min.similar(cycle, ["i3", "i9"], run=trained, k=4) == expected
    assert tslrec_min.similar(cycle, "i3", run=trained, k=4) == expected[:4]
    for arguments, message in (({}, "give one of them"), ({"run": trained, "embeddings": trained}, "give one of them"),
                               ({"run": trained, "k": 0}, "k is 0"), ({"embeddings": trained}, "embed artifact")):
        with pytest.raises(TslrecError, match=message):
            tslrec_min.similar(cycle, "i3", **arguments)
    for name in ("Amélie", "AMELIE"):
        with pytest.raises(TslrecError, match="titles that contain it"):
            tslrec_min.similar(cycle, name, run=trained)
