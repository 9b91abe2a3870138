from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.pipeline.runner import Runner
from tslrec_min.runtime.progress_lines import ProgressLines
from tslrec_min.storage.artifacts import Recipe, write_artifact


def make(path: Path) -> None:
    if not path.exists():
        with write_artifact(path, Recipe("evaluate", {}, {})):
            pass


def test_time_that_is_left_follows_from_what_stages_are_expected_to_take(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ProgressLines(None, "", "expected second", 0, print) as bar, caplog.at_level("INFO", "tslrec_min"):
        runner = Runner(tmp_path, bar, 3)
        runner("dataset", make)
        assert bar.total is None and bar.n == 0, "before anything is known"
        runner.expect({"pretrain": 50.0, "evaluate": 10.0})
        assert bar.total == 60 and not caplog.text
        runner("pretrain", make)
        assert "pretrain: about 50 seconds" in caplog.text
        assert (bar.n, bar.total) == (50, 60) and "50 of 60 expected seconds" in bar.line()
        runner.expect({"serving": 30.0})
        runner("evaluate", make)
        assert (bar.n, bar.total) == (60, 90) and bar.line().startswith("evaluate, stage 3 of 3: ")
        assert [stage["made"] for stage in runner.stages] == [True, True, True]


def test_what_is_finished_does_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "pretrain")
    with ProgressLines(None, "", "expected second", 0, print) as bar, caplog.at_level("INFO", "tslrec_min"):
        runner = Runner(tmp_path, bar, 2)
        runner.expect({"pretrain": 5000.0, "evaluate": 7200.0})
        runner("pretrain", make)
        assert (bar.n, bar.total) == (0, 7200) and not caplog.text
        runner("evaluate", make)
        assert bar.n == 7200 and "evaluate: about 2.0 hours" in caplog.text
