from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tslrec_min.configs import EvaluateConfig
from tslrec_min.data.dataset import Dataset, Histories
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.artifact import load_results, save_ranks
from tslrec_min.evaluation.compare import compare
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.evaluation.summary import report_of, summarise, user_groups
from tslrec_min.ranking.ranks import Ranks
from tslrec_min.storage.artifacts import Recipe, read_json, write_artifact, write_json

from .factories import N_ITEMS, random_ranks

FAST = EvaluateConfig(resamples=500)
CPU = torch.device("cpu")


def store(folder: Path, dataset: Dataset, ranks: Mapping[str, Any], config: EvaluateConfig = FAST, *,
          without_users: int = 0) -> Path:
    """Write what `evaluate` writes, of given ranks."""
    asked = dataset.evaluation(config.split)
    asked = replace(asked, users=asked.users[without_users:], targets=asked.targets[without_users:])
    groups = user_groups(dataset, asked, config.head_share)
    data = dataset.statistics() | {"evaluated_users": len(asked.users)}
    names = {arm: [f"{arm}-{index}" for index in range(len(runs))] for arm, runs in ranks["filtered"].items()}
    with write_artifact(folder, Recipe("evaluate", {"head_share": config.head_share}, {})) as temporary:
        write_json(temporary / "metrics.json", report_of(config.split, data, names, summarise(ranks, groups, config)))
        save_ranks(temporary, ranks, groups, [dataset.user_ids[user] for user in asked.users])
    return folder


def only(ranks: Mapping[str, Any], *arms: str) -> dict[str, Any]:
    return {protocol: {arm: by_arm[arm] for arm in arms} for protocol, by_arm in ranks.items()}


def test_compare_gives_the_report_of_all_arms_together(dataset: Dataset, tmp_path: Path) -> None:
    ranks = random_ranks(dataset, {"ids": 3, "a/b": 2, "c d": 1})
    together = load_results(store(tmp_path / "all", dataset, ranks))
    first, second = (str(store(tmp_path / name, dataset, only(ranks, *arms)))
                     for name, arms in (("first", ("ids", "a/b")), ("second", ("ids", "c d"))))
    expected = report_of("test", together.data, together.run_names, summarise(ranks, together.groups, FAST))
    assert compare([first, second], FAST) == expected
    turned = compare([second, first], FAST, baseline="a/b", metrics=["hr@3", "mrr"])
    assert {arm: len(values["runs"]) for arm, values in turned["arms"].items()} == {"a/b": 2, "ids": 3, "c d": 1}
    assert next(iter(turned["arms"])) == "a/b"
    assert {(one["metric"], one["group"]) for one in turned["comparisons"]} == {
        ("hr@3", "all"), ("mrr", "all"), ("hr@3", "tail")}
    assert turned["arms"]["c d"]["filtered"]["mrr"] == expected["arms"]["c d"]["filtered"]["mrr"]


def test_an_only_arm_can_be_renamed(dataset: Dataset, tmp_path: Path) -> None:
    one = store(tmp_path / "one", dataset, random_ranks(dataset, {"x": 1}))
    other = store(tmp_path / "other=1", dataset, random_ranks(dataset, {"x": 1}, seed=2))
    assert list(compare([f"new={one}", str(other)], FAST)["arms"]) == ["new", "x"]
    with pytest.raises(TslrecError, match=r"the arm 'x' is in .*one and, with other ranks, in .*other=1; rename"):
        compare([str(one), str(other)], FAST)
    two = store(tmp_path / "two", dataset, random_ranks(dataset, {"y": 1, "z": 1}))
    with pytest.raises(TslrecError, match=r"two has 2 arms \('y', 'z'\); only results of one arm"):
        compare([f"new={two}"], FAST)
    with pytest.raises(TslrecError, match=r"--baseline 'w' is not among the arms: 'y', 'z'"):
        compare([str(two)], FAST, baseline="w")


def test_results_that_do_not_belong_together_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    first = store(tmp_path / "first", dataset, random_ranks(dataset, {"a": 1}))
    ranks = random_ranks(dataset, {"b": 1})
    items = dataset.histories.items.copy()
    items[0] = items[0] % N_ITEMS + 1
    other_data = replace(dataset, histories=Histories(dataset.histories.indptr, items))
    fewer = {protocol: {"b": [Ranks(run.greater[1:], run.equal[1:], run.n_candidates[1:]) for run in of["b"]]}
             for protocol, of in ranks.items()}
    for name, path, message in (
            ("split", store(tmp_path / "split", dataset, ranks, replace(FAST, split="validation")),
             "the first ranks test targets, the other validation targets"),
            ("data", store(tmp_path / "data", other_data, ranks), "they use different data sets"),
            ("users", store(tmp_path / "users", dataset, fewer, without_users=1), "they rank different users"),
            ("head", store(tmp_path / "head", dataset, ranks, replace(FAST, head_share=0.5)), "--head-share"),
    ):
        with pytest.raises(TslrecError, match=f"first and .*{name} can't be compared: .*{message}"):
            compare([str(first), str(path)], FAST)
    with write_artifact(tmp_path / "old", Recipe("evaluate", {}, {})) as folder:
        write_json(folder / "metrics.json", {"split": "test", "arms": {}})
        np.savez(folder / "ranks.npz", greater=np.zeros(1))
    with pytest.raises(TslrecError, match="lacks users/target"):
        compare([str(first), str(tmp_path / "old")], FAST)
    for key, value in (("users", None), ("items", "9"), ("split_hash", 9)):
        folder = tmp_path / f"without-{key}"
        shutil.copytree(first, folder)
        report = read_json(folder / "metrics.json")
        report["data"] = {name: old for name, old in report["data"].items() if name != key} | (
            {} if value is None else {key: value})
        with write_artifact(folder, Recipe("evaluate", {"head_share": 0.2}, {}), overwrite=True) as forged:
            for name in ("ranks.npz", "users.txt"):
                shutil.copy(folder / name, forged)
            write_json(forged / "metrics.json", report)
        with pytest.raises(TslrecError, match=f"is not what tslrec evaluate writes .*{key}"):
            compare([str(first), str(folder)], FAST)
    report = read_json(first / "metrics.json")
    report["arms"]["a"]["runs"] = 1.5
    with write_artifact(tmp_path / "runs", Recipe("evaluate", {"head_share": 0.2}, {})) as forged:
        for name in ("ranks.npz", "users.txt"):
            shutil.copy(first / name, forged)
        write_json(forged / "metrics.json", report)
    with pytest.raises(TslrecError, match="is not what tslrec evaluate writes"):
        compare([str(first), str(tmp_path / "runs")], FAST)
    (first / "ranks.npz").write_bytes(b"damaged")
    with pytest.raises(TslrecError, match="changed or damaged"):
        compare([str(first)], FAST)


def test_comparing_loads_no_torch(dataset: Dataset, tmp_path: Path) -> None:
    store(tmp_path / "results", dataset, random_ranks(dataset, {"a": 1, "b": 1}))
    program = ("import sys; from tslrec_min.cli import main\n"
               "main(['compare', 'results', '--resamples', '9'], standalone_mode=False)\n"
               "assert not {'torch', 'transformers', 'llama_cpp'} & sys.modules.keys()")
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "lift over a" in done.stdout


@pytest.mark.parametrize("split", ["validation", "test"])
def test_results_compared_later_give_the_report_of_one_evaluation(cycle: Path, runs: list[Path], tmp_path: Path,
                                                                  split: str) -> None:
    config = EvaluateConfig(split=split, head_share=0.3, test="bootstrap", resamples=200, seed=3)
    together = evaluate(cycle, {"weak": runs[:2], "strong": runs[2:]}, config, device=CPU, threads=1)
    assert min(together["groups"]["users"][group] for group in ("head", "tail", "short")) > 0
    for name, arm in (("weak", runs[:2]), ("other", runs[2:])):
        evaluate(cycle, {name: arm}, config, out=tmp_path / name, device=CPU, threads=1)
    found = compare([str(tmp_path / "weak"), f"strong={tmp_path / 'other'}"],
                    EvaluateConfig(test="bootstrap", resamples=200, seed=3))
    assert found == together
