from __future__ import annotations

import os
from pathlib import Path

import pytest

import tslrec_min
from tslrec_min.errors import TslrecError


def test_bad_options_are_named_together(cycle: Path, tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="train: .*epochs: 0 is out of range.*unknown key 'widht'"):
        tslrec_min.train(cycle, tmp_path / "out", widht=8, epochs=0)
    with pytest.raises(ValueError, match="expected one of refuse, overwrite, reuse"):
        tslrec_min.train(cycle, tmp_path / "out", existing="replace")
    with pytest.raises(ValueError, match="give one of them"):
        tslrec_min.embed(cycle, tmp_path / "out")


def test_existing_results_are_refused_or_reused(cycle: Path, tmp_path: Path) -> None:
    tiny = {"epochs": 1, "width": 8, "threads": 1}
    first = tslrec_min.train(cycle, tmp_path / "a", **tiny)
    with pytest.raises(TslrecError, match="already exists"):
        tslrec_min.train(cycle, tmp_path / "a", **tiny)
    made = os.stat(tmp_path / "a").st_ino
    assert tslrec_min.train(cycle, tmp_path / "a", existing="reuse", **tiny) == first
    assert os.stat(tmp_path / "a").st_ino == made


def test_arms_can_be_given_as_on_the_command_line(cycle: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        tslrec_min.train(cycle, tmp_path / f"s{seed}", epochs=1, width=8, threads=1, seed=seed)
    words = [f"ids={tmp_path / 's0'}", f"ids={tmp_path / 's1'}"]
    report = tslrec_min.evaluate(cycle, words, out=tmp_path / "results", threads=1)
    assert report.path == tmp_path / "results" and list(report.metrics["arms"]) == ["ids"]
    assert {row["n_runs"] for row in report.rows} == {2} and {row["p"] for row in report.rows} == {None}
    alone = tslrec_min.evaluate(cycle, str(tmp_path / "s0"), threads=1)
    assert alone.path is None and list(alone.metrics["arms"]) == ["s0"]
    for paths in (tmp_path / "s0", [tmp_path / "s0"]):
        assert tslrec_min.evaluate(cycle, paths, threads=1).metrics == alone.metrics
