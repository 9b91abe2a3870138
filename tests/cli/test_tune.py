from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from ..factories import tslrec


def test_tune_prints_the_trials_and_the_command_that_trains_the_best(cycle: Path, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--width", 8, "--max-len", 8, "--epochs", 2, "--trials", 3, "--budget", 1, "--vary", "dropout,heads",
             "--threads", 1)
    result = tslrec("tune", cycle, "-o", "tuned", *words)
    assert result.exit_code == 0, result.output
    title, header, _, *rows = result.stdout.splitlines()
    assert title.startswith("3 trials") and header.split() == ["trial", "epochs", "NDCG@10", "HR@10", "seconds",
                                                               "dropout", "heads"]
    scores = [float(row.split()[2]) for row in rows]
    assert len(rows) == 3 and scores == sorted(scores, reverse=True)
    assert result.stderr.count("validation NDCG@10") == 3 and "trial 2 of 0-2" in result.stderr
    command = shlex.split(result.stderr.strip().splitlines()[-1])
    assert tslrec(*command[1:], "--threads", 1).exit_code == 0
    config = json.loads((tmp_path / "tuned-train" / "config.json").read_text())["config"]
    again = tslrec("tune", cycle, "-o", "again", *words, "--json")
    best = json.loads(again.stdout)["best"]
    assert str(best["trial"]) == rows[0].split()[0] and config["width"] == 8
    assert {name: config[name] for name in best["config"]} == best["config"]


def test_what_a_search_does_not_take(cycle: Path, tmp_path: Path) -> None:
    for words, status, message in ((("--refit", "all"), 2, "--refit"), (("--vary", "units"), 1, "units is not read"),
                                   (("--vary", "model"), 1, "unknown key 'model'"), (("--trials", 0), 2, "--trials"),
                                   (("--ignore-unknown-items",), 2, "go with a file"),
                                   (("--adapter", "init"), 1, "needs item embeddings")):
        result = tslrec("tune", cycle, "-o", tmp_path / "out", *words)
        assert result.exit_code == status and message in result.stderr, result.output
        assert not (tmp_path / "out").exists()


def test_a_small_search_space_is_said(cycle: Path, tmp_path: Path) -> None:
    result = tslrec("tune", cycle, "-o", tmp_path / "tuned", "--width", 6, "--max-len", 8, "--epochs", 1, "--vary",
                    "heads", "--threads", 1)
    assert result.exit_code == 0 and "has only 2 configurations, fewer than the 16 trials" in result.stderr


def test_flags_of_the_command(cold: Path, trained: Path, tmp_path: Path) -> None:
    result = tslrec("tune", cold, "-o", tmp_path / "tuned", "--embeddings", trained / "embed", "--adapter", "init",
                    "--no-init-whitening", "--width", 8, "--max-len", 8, "--epochs", 1, "--trials", 1, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert (f"tslrec train {cold} --embeddings {trained / 'embed'} --adapter init --no-init-whitening --width 8 "
            f"--max-len 8 --epochs 1 -o {tmp_path / 'tuned'}-train\n") in result.stderr
