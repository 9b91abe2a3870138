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


def runner_of(folder: Path, count: int) -> Runner:
    return Runner(folder, ProgressLines(count, "", "stage", 0, print, even=False))


def test_stages_say_how_long_they_and_all_will_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runner = runner_of(tmp_path, 3)
    with runner.bar as bar, caplog.at_level("INFO", "tslrec_min"):
        runner("dataset", make)
        assert bar.line() == "dataset: 1 of 3 stages, 0:00 so far" and not caplog.text
        runner.expect({"pretrain": 50.0, "evaluate": 3600.0})
        runner("pretrain", make)
        assert "pretrain: about 50 seconds" in caplog.text
        assert bar.line() == "pretrain (about 61 minutes left): 2 of 3 stages, 0:00 so far"
        assert runner.pace == pytest.approx(60 / 110, rel=0.1), "it took no time"
        runner.expect({"serving": 30.0})
        runner("evaluate", make)
        assert "evaluate: about 33 minutes" in caplog.text and "33 minutes left" in bar.line()
        assert [stage["made"] for stage in runner.stages] == [True, True, True]


def test_what_is_finished_does_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "pretrain")
    runner = runner_of(tmp_path, 2)
    with runner.bar as bar, caplog.at_level("INFO", "tslrec_min"):
        runner.expect({"pretrain": 5000.0, "evaluate": 7200.0})
        runner("pretrain", make)
        assert runner.pace == 1 and not caplog.text and not runner.stages[0]["made"]
        runner("evaluate", make)
        assert "evaluate: about 2.0 hours" in caplog.text and "(about 2.0 hours left): 2 of 2 stages" in bar.line()
