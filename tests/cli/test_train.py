from __future__ import annotations

import json
from pathlib import Path

from tslrec_min.runtime.progress import verbosity

from ..factories import tslrec


def test_train_and_evaluate(prepared: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        assert tslrec("train", prepared / "dataset", "-o", tmp_path / f"r{seed}", "--epochs", 1, "--width", 8, "--seed",
                      seed, "--threads", 1).exit_code == 0
    result = tslrec("evaluate", prepared / "dataset", f"a={tmp_path / 'r0'}", f"b={tmp_path / 'r1'}", "--threads", 1)
    assert result.exit_code == 0 and "NDCG@10" in result.output and "p (Holm)" in result.output
    result = tslrec("evaluate", prepared / "dataset", tmp_path / "r0", "--json", "--threads", 1)
    assert json.loads(result.stdout)["arms"]["r0"]["filtered"]["mrr"]["mean"] > 0
    words = ("evaluate", prepared / "dataset", tmp_path / "r0", "--threads", 1, "--head-share", 0.5, "--format", "csv")
    assert tslrec(*words).stdout.startswith("arm,metric,protocol,group,users,mean,std,")


def test_training_says_every_epoch(cycle: Path, tmp_path: Path) -> None:
    words = ("train", cycle, "--epochs", 2, "--width", 8, "--threads", 1)
    verbose = tslrec(*words, "-o", tmp_path / "a", "-v").stderr
    assert "epoch 1 of at most 2" in verbose and "epoch 2 of at most 2" in verbose
    for more in ((), ("-q",)):
        result = tslrec(*words, "-o", tmp_path / f"b{len(more)}", *more)
        assert result.stderr == "" and "best epoch" in result.stdout
    assert verbosity() == "quiet"  # until another command begins
    assert tslrec("--version").exit_code == 0 and verbosity() == "normal"


def test_a_training_that_was_best_at_its_end_says_so(cycle: Path, tmp_path: Path) -> None:
    """But not where the learning rate fell to 0 there."""
    for decay in ("none", "linear"):
        result = tslrec("train", cycle, "--epochs", 3, "--width", 32, "--learning-rate", 1e-2, "--decay", decay,
                        "--threads", 1, "-o", tmp_path / decay)
        assert "best epoch 3 of 3" in result.stdout
        assert ("more epochs may improve the result" in result.stderr) == (decay == "none")


def test_a_refit_is_said_and_marked(cycle: Path, tmp_path: Path) -> None:
    words = ("train", cycle, "--epochs", 1, "--width", 8, "--threads", 1)
    for refit, said in (("none", ""), ("validation", "marked (n-1)"), ("all", "for recommendations, not for figures")):
        result = tslrec(*words, "--refit", refit, "-o", tmp_path / refit)
        assert result.exit_code == 0 and ("epochs: 1" in result.stdout) == bool(said)
        assert said in result.stdout
    words = (*words, "--refit", "validation", "--refit-from", tmp_path / "none")
    again = tslrec(*words, "-o", tmp_path / "again", "--json")
    assert json.loads(again.stdout)["refit_epochs"] == 1
    found = tslrec("evaluate", cycle, f"a={tmp_path / 'validation'}", "--threads", 1).stdout
    assert "a (n-1)" in found and "(n-1): learned from the training and validation items" in found
    for runs, split in ((("none", "validation"), "test"), (("all",), "test"), (("validation",), "validation")):
        refused = tslrec("evaluate", cycle, *(tmp_path / run for run in runs), "--split", split)
        assert refused.exit_code == 1 and "learned from" in refused.stderr
    assert tslrec("recommend", cycle, tmp_path / "all", "--threads", 1, "-o", tmp_path / "r.jsonl").exit_code == 0
