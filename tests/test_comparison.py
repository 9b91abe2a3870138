"""Groups of users, corrected comparisons and stored results: against literal restatements on small random data."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tslrec_min.configs import EvaluateConfig
from tslrec_min.data.dataset import Dataset, Histories
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.artifact import load_results, save_ranks
from tslrec_min.evaluation.compare import compare
from tslrec_min.evaluation.summary import UserGroups, head_items, report_of, summarise, user_groups
from tslrec_min.ranking.ranks import Ranks
from tslrec_min.ranking.significance import holm
from tslrec_min.storage.artifacts import Recipe, read_json, write_artifact, write_json

from . import _reference as reference

N_ITEMS = 23
FAST = EvaluateConfig(resamples=500)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Fifty users of 1 to 12 items; some items are popular, some are equally so, some are in no training history."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 13, size=50)
    weights = 1 / np.arange(1, N_ITEMS + 1)
    items = random.choice(np.arange(1, N_ITEMS + 1), size=lengths.sum(), p=weights / weights.sum()).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    user_ids, item_ids = [f"u{user}" for user in range(50)], [f"i{item}" for item in range(N_ITEMS)]
    return Dataset(Histories(indptr, items), user_ids, item_ids, [""] * N_ITEMS)


def random_runs(n_users: int, n_runs: int, seed: int) -> list[Ranks]:
    random = np.random.default_rng(seed)
    return [Ranks(random.integers(0, 18, n_users), random.choice([0, 0, 0, 1, 3], n_users), np.full(n_users, N_ITEMS))
            for _ in range(n_runs)]


def random_ranks(dataset: Dataset, runs_of: Mapping[str, int], seed: int = 1) -> dict[str, dict[str, list[Ranks]]]:
    n_users = len(dataset.evaluation("test").users)
    return {protocol: {arm: random_runs(n_users, n_runs, hash_of(protocol, arm, seed))
                       for arm, n_runs in runs_of.items()} for protocol in ("filtered", "unfiltered")}


def hash_of(protocol: str, arm: str, seed: int) -> int:
    return sum(map(ord, protocol + arm)) + 1000 * seed


def literal_groups(dataset: Dataset, split: str, share: float) -> dict[str, list[int]]:
    """Places in the list of evaluated users, by group; nothing is shared with the library but the histories."""
    popularity = Counter({item: 0 for item in range(1, N_ITEMS + 1)})
    lengths, targets = [], []
    for user in range(dataset.n_users):
        history = dataset.histories.of(user).tolist()
        training = history if len(history) < 3 else history[:-2]
        popularity.update(training)
        if len(history) >= 3:
            lengths.append(len(training))
            targets.append(history[-2 if split == "validation" else -1])
    ranked = sorted(popularity, key=lambda item: (-popularity[item], item))
    head = ranked[:round(share * N_ITEMS)]
    ordered = sorted(lengths)
    half = len(ordered) // 2
    median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    places = range(len(targets))
    return {"head": [place for place in places if targets[place] in head],
            "tail": [place for place in places if targets[place] not in head],
            "short": [place for place in places if lengths[place] <= median],
            "long": [place for place in places if lengths[place] > median]}


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_groups_and_their_figures_are_those_of_loops(dataset: Dataset, split: str, share: float) -> None:
    groups = user_groups(dataset, dataset.evaluation(split), share)
    expected = literal_groups(dataset, split, share)
    assert all(expected.values())
    assert {group: np.flatnonzero(users).tolist() for group, users in groups.members().items()} == expected
    ranks = random_ranks(dataset, {"a": 3, "b": 1})
    report = summarise(ranks, groups, replace(FAST, split=split, head_share=share))
    assert report["groups"]["users"] == {group: len(places) for group, places in expected.items()}
    for protocol, by_arm in ranks.items():
        for arm, runs in by_arm.items():
            for group, places in expected.items():
                found = report["arms"][arm]["groups"][protocol][group]
                for name in ("hr@10", "ndcg@10", "mrr"):
                    means = [np.mean([reference.metric(name, run.greater[place], run.equal[place]) for place in places])
                             for run in runs]
                    assert found[name]["runs"] == pytest.approx(means)
                    assert found[name]["mean"] == pytest.approx(np.mean(means))
                    assert found[name]["std"] == pytest.approx(np.std(means, ddof=1) if len(runs) > 1 else 0)


def test_weighted_means_of_groups_add_up(dataset: Dataset) -> None:
    report = summarise(random_ranks(dataset, {"a": 2}), user_groups(dataset, dataset.evaluation("test"), 0.2), FAST)
    users, found = report["groups"]["users"], report["arms"]["a"]
    for protocol in ("filtered", "unfiltered"):
        for name, overall in found[protocol].items():
            for pair in (("head", "tail"), ("short", "long")):
                total = sum(users[group] * found["groups"][protocol][group][name]["mean"] for group in pair)
                assert total / len(dataset.evaluation("test").users) == pytest.approx(overall["mean"])


def test_equal_popularity_goes_to_the_smaller_id() -> None:
    training = Histories(np.array([0, 6]), np.array([5, 5, 4, 2, 3, 3], dtype=np.int32))
    assert [np.flatnonzero(head_items(training, 6, share)).tolist() for share in (0, 1 / 6, 0.5, 1)] == [
        [], [3], [2, 3, 5], [1, 2, 3, 4, 5, 6]]


def test_targets_take_no_part_in_popularity(dataset: Dataset) -> None:
    items = dataset.histories.items.copy()
    ends = dataset.histories.indptr[dataset.evaluation("test").users + 1]
    items[ends - 1], items[ends - 2] = N_ITEMS, N_ITEMS
    changed = replace(dataset, histories=Histories(dataset.histories.indptr, items))
    assert not np.array_equal(changed.evaluation("test").targets, dataset.evaluation("test").targets)
    heads = [head_items(data.training(), N_ITEMS, 0.2) for data in (dataset, changed)]
    assert heads[0].sum() == 5 and np.array_equal(*heads)


def test_groups_without_users_are_left_out() -> None:
    groups = UserGroups(np.array([1, 2]), np.array([4, 4]), np.array([True, True]))
    report = summarise({"filtered": {"a": random_runs(2, 1, 0), "b": random_runs(2, 1, 1)}}, groups, FAST)
    assert report["groups"]["users"] == {"head": 2, "tail": 0, "short": 2, "long": 0}
    assert set(report["arms"]["a"]["groups"]["filtered"]) == {"head", "short"}
    assert {found["group"] for found in report["comparisons"]} == {"all"}


def test_comparisons_are_of_all_and_of_tail_users_and_corrected_together(dataset: Dataset) -> None:
    groups = user_groups(dataset, dataset.evaluation("test"), 0.2)
    ranks = random_ranks(dataset, {"base": 2, "b": 2, "c": 1})
    better = [Ranks(run.greater // 4, run.equal, run.n_candidates) for run in ranks["filtered"]["base"]]
    report = summarise({"filtered": ranks["filtered"] | {"better": better}}, groups, FAST)
    found = report["comparisons"]
    assert [(one["arm"], one["metric"], one["group"]) for one in found] == [
        (arm, metric, group) for arm in ("b", "c", "better")
        for metric, group in (("hr@10", "all"), ("ndcg@10", "all"), ("hr@10", "tail"))]
    for one in found:
        arm, base = (report["arms"][which]["filtered" if one["group"] == "all" else "groups"] for which in (
            one["arm"], "base"))
        if one["group"] == "tail":
            arm, base = arm["filtered"]["tail"], base["filtered"]["tail"]
        means = [side[one["metric"]]["mean"] for side in (arm, base)]
        assert one["difference"] == pytest.approx(means[0] - means[1])
        assert one["relative"] == pytest.approx(means[0] / means[1] - 1)
    assert [one["p_holm"] for one in found] == list(holm([one["p_value"] for one in found]))
    assert max(one["p_holm"] for one in found[-3:-1]) < 0.05 < min(one["p_holm"] for one in found[:6])


def test_ranks_of_other_users_and_unknown_metrics_are_refused(dataset: Dataset) -> None:
    groups = user_groups(dataset, dataset.evaluation("test"), 0.2)
    with pytest.raises(ValueError, match="ranks of a has 3 entries"):
        summarise({"filtered": {"a": random_runs(3, 1, 0)}}, groups, FAST)
    with pytest.raises(ValueError, match="no metric 'recall@10'"):
        summarise(random_ranks(dataset, {"a": 1}), groups, FAST, metrics=["recall@10"])


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
             "the first is of the test targets, the other of the validation targets"),
            ("data", store(tmp_path / "data", other_data, ranks), "they are of different data sets"),
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
