"""Artifacts that version 0.1.0 wrote are read: artifacts-0.1.0.zip holds a small chain of them.

They were made by 0.1.0's own commands from 30 users, 14 items (one of them cold) and a random language model, which is
in the archive too. ``ids`` names settings that its adapter does not read, as 0.1.0 let people do.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tslrec_min
from tslrec_min.cli import main

ARMS = {"ids": ["ids"], "init": ["init"], "linear": ["linear-gru4rec"], "moe": ["moe-bert4rec"],
        "alphafuse": ["alphafuse"]}


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the artifacts, which is also where commands run: their model is called by a relative path."""
    with zipfile.ZipFile(Path(__file__).with_name("artifacts-0.1.0.zip")) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_recommenders_rank_as_they_did(older: Path) -> None:
    """Scores may differ in the last bits on another processor, so a few near ties may fall otherwise."""
    tslrec_min.evaluate("dataset", ARMS, out="again", threads=1, resamples=100)
    with np.load(older / "evaluate" / "ranks.npz") as before, np.load(older / "again" / "ranks.npz") as now:
        assert set(before) == set(now)
        for name in before:
            assert (before[name] != now[name]).mean() <= 0.1, name
    cold = [json.loads((older / folder / "metrics.json").read_text())["cold"] for folder in ("evaluate", "again")]
    assert cold[0]["random"] == cold[1]["random"]
    assert cold[0]["arms"].keys() == cold[1]["arms"].keys()


def test_results_are_compared(older: Path) -> None:
    done = CliRunner().invoke(main, ["compare", "evaluate", "--json"])
    assert done.exit_code == 0, done.output
    stored = json.loads((older / "evaluate" / "metrics.json").read_text())
    assert json.loads(done.stdout)["arms"]["init"]["filtered"] == stored["arms"]["init"]["filtered"]


@pytest.mark.parametrize("run", [run for runs in ARMS.values() for run in runs])
def test_recommenders_answer(older: Path, run: str) -> None:
    rows = tslrec_min.recommend("dataset", run, users=["u3"], k=3, threads=1)
    assert [row["rank"] for row in rows] == [1, 2, 3]


def test_embeddings_are_compared_exported_and_kept(older: Path) -> None:
    assert len(tslrec_min.similar("dataset", "i3", embeddings="embed", k=3)) == 3
    assert len(tslrec_min.similar("dataset", "i3", run="init", k=3)) == 3
    done = CliRunner().invoke(main, ["export", "dataset", "embed", "--vectors", "both", "-o", "items.npy"])
    assert done.exit_code == 0, done.output
    again = tslrec_min.embed("dataset", "longer", finetuned="finetune", append_to="embed", threads=1)
    assert again.metrics["kept"] == 14 and again.metrics["computed"] == 0
    assert np.array_equal(again.vectors, np.load(older / "embed" / "item_embeddings.npy")[1:])


def test_a_fine_tuned_model_is_verified(older: Path) -> None:
    done = CliRunner().invoke(main, ["gguf", "verify", "dataset", "finetune", "--threads", "1"])
    assert done.exit_code == 0, done.output


def test_categories_serve_another_fine_tuning(older: Path) -> None:
    tuned = tslrec_min.finetune("dataset", "pretrain", "tuned", model="tiny-llm", users=8, parity_prompts=8, threads=1)
    assert tuned.metrics["parity"]["passed"]


def test_a_report_is_made_of_them(older: Path) -> None:
    pytest.importorskip("matplotlib")
    (older / "run").mkdir()
    for name in ("dataset", "pretrain", "finetune", "embed", "ids", "evaluate"):
        (older / name).rename(older / "run" / name)
    done = CliRunner().invoke(main, ["report", "run", "-o", "report.html"])
    assert done.exit_code == 0, done.output
    assert "0.1.0" in (older / "report.html").read_text(encoding="utf-8")
