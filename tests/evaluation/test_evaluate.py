"""Evaluation of trained runs: metrics against a direct computation, stored ranks, arms and paired tests."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import EvaluateConfig, PrepareConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.compare import compare
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.inference import final_states
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import read_json

from ..factories import write_cycle

CPU = torch.device("cpu")


def direct_metrics(run: Path, cycle: Path, split: str, filtered: bool) -> dict[str, float]:
    """HR@10 and NDCG@10 by sorting every score, one user at a time."""
    dataset, dataset_hash = load_dataset(cycle)
    asked = dataset.evaluation(split)
    states, table = final_states(load_recommender(run, dataset_hash, CPU), asked.histories, asked.users, device=CPU)
    hits = gains = 0.0
    for state, user, target in zip(states, asked.users, asked.targets, strict=True):
        scores = {item: float(state @ table[item]) for item in range(1, len(table))}
        if filtered:
            scores = {item: score for item, score in scores.items()
                      if item == target or item not in asked.histories.of(user)}
        rank = sorted(scores, key=lambda item: -scores[item]).index(target)
        hits += rank < 10
        gains += (rank < 10) / np.log2(rank + 2)
    return {"hr@10": hits / len(states), "ndcg@10": gains / len(states)}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_metrics_are_those_of_sorting(cycle: Path, runs: list[Path], split: str) -> None:
    report = evaluate(cycle, {"a": runs[:1]}, EvaluateConfig(split=split), device=CPU, threads=2)
    for protocol, filtered in (("filtered", True), ("unfiltered", False)):
        expected = direct_metrics(runs[0], cycle, split, filtered)
        found = report["arms"]["a"][protocol]
        assert {name: found[name]["mean"] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_arms_are_summarised_stored_and_compared(cycle: Path, runs: list[Path], tmp_path: Path) -> None:
    arms = {"weak": runs[:2], "strong": runs[2:]}
    report = evaluate(cycle, arms, EvaluateConfig(), out=tmp_path / "e", device=CPU, threads=1)
    assert report == read_json(tmp_path / "e" / "metrics.json")
    weak = report["arms"]["weak"]["filtered"]["ndcg@10"]
    assert weak["mean"] == pytest.approx(np.mean(weak["runs"])) and weak["std"] == pytest.approx(
        np.std(weak["runs"], ddof=1))
    with np.load(tmp_path / "e" / "ranks.npz", allow_pickle=False) as ranks:
        greater = ranks["filtered/weak/greater"]
        assert greater.shape == (2, 60)
        assert (greater < 5).mean(axis=1) == pytest.approx(report["arms"]["weak"]["filtered"]["hr@5"]["runs"])
    users = (tmp_path / "e" / "users.txt").read_text().split()
    assert len(users) == 60
    compared = {found["metric"]: found for found in report["comparisons"]}
    assert compared["ndcg@10"]["difference"] > 0.1 and compared["ndcg@10"]["p_value"] < 0.01
    assert compared["ndcg@10"]["baseline"] == "weak"


def refitted(cycle: Path, out: Path, refit: str) -> Path:
    config = TrainConfig(width=8, blocks=1, max_len=8, batch_size=32, epochs=1, refit=refit)
    train(cycle, out, config, device=CPU, threads=1)
    return out


def test_what_the_runs_learned_from_is_said_and_must_be_the_same(cycle: Path, runs: list[Path], tmp_path: Path) -> None:
    more, everything = (refitted(cycle, tmp_path / refit, refit) for refit in ("validation", "all"))
    fast = EvaluateConfig(test="none")
    for run, learned in ((runs[0], "n-2"), (more, "n-1")):
        report = evaluate(cycle, {"a": [run]}, fast, out=tmp_path / learned, device=CPU, threads=1)
        assert report["arms"]["a"]["learned_from"] == learned
    for arms, split, message in (({"a": runs[:1], "b": [more]}, "test", "learned from different histories"),
                                 ({"a": [runs[0], more]}, "test", "learned from different histories"),
                                 ({"a": [everything]}, "test", "has seen the test targets"),
                                 ({"a": [more]}, "validation", "has seen the validation targets")):
        with pytest.raises(TslrecError, match=message):
            evaluate(cycle, arms, replace(fast, split=split), out=tmp_path / "out", device=CPU, threads=1)
        assert not (tmp_path / "out").exists()
    with pytest.raises(TslrecError, match="n-2 and .*n-1 can't be compared: their runs learned from different"):
        compare([str(tmp_path / "n-2"), f"b={tmp_path / 'n-1'}"], fast)
    assert compare([str(tmp_path / "n-1")], fast)["arms"]["a"]["learned_from"] == "n-1"


def test_bootstrap_and_no_test(cycle: Path, runs: list[Path]) -> None:
    arms = {"a": runs[:1], "b": runs[2:]}
    report = evaluate(cycle, arms, EvaluateConfig(test="bootstrap"), device=CPU, threads=1)
    found = next(found for found in report["comparisons"] if found["metric"] == "ndcg@10")
    assert found["low"] < found["difference"] < found["high"]
    assert evaluate(cycle, arms, EvaluateConfig(test="none"), device=CPU, threads=1)["comparisons"] == []


def test_runs_of_another_data_set_are_refused(cycle: Path, runs: list[Path], tmp_path: Path) -> None:
    prepare(write_cycle(tmp_path / "raw", seed=5), tmp_path / "other", PrepareConfig())
    with pytest.raises(TslrecError, match="trained on another data set; give that one, or run tslrec train"):
        evaluate(tmp_path / "other", {"a": runs[:1]}, EvaluateConfig(), device=CPU, threads=1)
    own, run = tmp_path / "run" / "dataset", tmp_path / "run" / "train" / "ids"
    shutil.copytree(cycle, own)
    shutil.copytree(runs[0], run)
    with pytest.raises(TslrecError, match=f"trained on another data set, {own}; give that one"):
        evaluate(tmp_path / "other", {"a": [run]}, EvaluateConfig(), device=CPU, threads=1)


def test_arms_without_runs_or_with_one_twice_are_refused(cycle: Path, runs: list[Path]) -> None:
    twice = [runs[0], runs[0].parent / ".." / runs[0].parent.name / runs[0].name]
    for arms, message in (({}, "no run to evaluate"), ({"a": []}, "the arm 'a' has no run"),
                          ({"a": twice}, "the arm 'a' has the same run twice")):
        with pytest.raises(TslrecError, match=message):
            evaluate(cycle, arms, EvaluateConfig(), device=CPU, threads=1)
