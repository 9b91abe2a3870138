"""Probing: the figures are those of train, fuse and evaluate, and of literal loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import EvaluateConfig, PrepareConfig, ProbeConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.evaluation.probe import VectorSet, make_probe, probe, reached, vector_sets
from tslrec_min.item_vectors.artifact import PREFERENCES, PROJECTED, write_derived, write_embeddings
from tslrec_min.ranking.significance import holm
from tslrec_min.recommenders.counting.base import Knowledge, items_read
from tslrec_min.recommenders.counting.transitions import Transitions
from tslrec_min.recommenders.fuse import Part, fuse
from tslrec_min.recommenders.load import load_scorer
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, read_json, write_artifact
from tslrec_min.storage.existing import Existing

from ..factories import N_ITEMS, dataset_of, write_cycle, write_random_embeddings

CPU = torch.device("cpu")
FAST = ProbeConfig(resamples=200)
FIGURES = ("ndcg@10", "hr@10", "tail_hr@10", "reachable_ndcg@10", "unreachable_ndcg@10")


def write_circle(folder: Path, path: Path, *, projected: bool = False) -> Path:
    """Write vectors on a circle, neighbours of the cycle beside each other, and noise as preferences and projected."""
    dataset, _ = load_dataset(path)
    places = np.array([int(item[1:]) for item in dataset.with_cold_items().item_ids])
    angles = 2 * np.pi * places / N_ITEMS
    vectors = np.stack([wave(angles * k) / k for k in (1, 2, 3) for wave in (np.cos, np.sin)], axis=1)
    with write_artifact(folder, Recipe("embed", {}, {})) as temporary:
        write_embeddings(temporary, [(np.arange(len(places)), vectors.astype(np.float32))], dataset)
        random = np.random.default_rng(0)
        for name in (PREFERENCES, PROJECTED)[:1 + projected]:
            write_derived(temporary, name, 5,
                          lambda states, _: random.normal(size=(len(states), 5)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cycle with jumps to any item, so that some targets have followed no item of their history in training."""
    folder, random = tmp_path_factory.mktemp("noisy"), np.random.default_rng(0)
    raw = write_cycle(folder / "raw", n_users=12, length=6)
    rows = [line.split() for line in (raw / "sequences.txt").read_text().splitlines()]
    for row in rows:
        row[-1], row[-2] = (f"i{item}" for item in random.integers(N_ITEMS, size=2))
    (raw / "sequences.txt").write_text("\n".join(map(" ".join, rows)) + "\n")
    prepare(raw, folder / "dataset", PrepareConfig(k_core=0))
    write_circle(folder / "circle", folder / "dataset")
    write_random_embeddings(folder / "random", load_dataset(folder / "dataset")[0])
    return folder


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("model", ["content", "content-cca"])
def test_the_figures_are_those_of_train_fuse_and_evaluate(cold: Path, trained: Path, tmp_path: Path, split: str,
                                                          model: str) -> None:
    """With cold items, which are never ranked here."""
    train(cold, tmp_path / "a", TrainConfig(model=model), embeddings_path=trained / "embed", device=CPU, threads=1)
    train(cold, tmp_path / "transitions", TrainConfig(model="transitions"), device=CPU, threads=1)
    fuse(cold, [Part("a", tmp_path / "a"), Part("transitions", "transitions")], tmp_path / "sum", device=CPU, threads=1)
    arms = ("transitions", "a", "sum")
    report = evaluate(cold, {arm: [tmp_path / arm] for arm in arms}, EvaluateConfig(split=split, test="none"),
                      device=CPU, threads=1)
    config = replace(FAST, split=split, cca=model == "content-cca")
    probed = probe(cold, {"a": trained / "embed"}, config, threads=1)
    names = ["transitions", *(["a, CCA", "transitions + a, CCA"] if config.cca else ["a", "transitions + a"])]
    rows = {row["name"]: row for row in probed["rows"]}
    for arm, name in zip(arms, names, strict=True):
        found = report["arms"][arm]
        for metric in ("ndcg@10", "hr@10"):
            assert rows[name][metric] == found["filtered"][metric]["mean"]
        assert rows[name]["tail_hr@10"] == found["groups"]["filtered"]["tail"]["hr@10"]["mean"]
        if arm != "sum":
            assert rows[name]["constants"] == read_json(tmp_path / arm / "metrics.json")["constants"]
    assert probed["data"] == report["data"] and probed["split"] == split
    assert probed["groups"]["users"]["tail"] == report["groups"]["users"]["tail"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_reachable_users_are_those_of_loops(noisy: Path, tmp_path: Path, split: str) -> None:
    dataset, dataset_hash = load_dataset(noisy / "dataset")
    train(noisy / "dataset", tmp_path / "run", TrainConfig(model="transitions"), device=CPU, threads=1)
    scorer = load_scorer(tmp_path / "run", dataset_hash, CPU)
    assert isinstance(scorer, Transitions)
    places, training = int(scorer.constants["places"]), dataset.training()
    followed = {(first, second) for user in range(dataset.n_users) for items in [training.of(user).tolist()]
                for place, first in enumerate(items) for second in items[place + 1:place + 1 + places]}
    asked = dataset.evaluation(split)
    expected = [any((item, target) in followed for item in asked.histories.of(user).tolist())
                for user, target in zip(asked.users, asked.targets.tolist(), strict=True)]
    assert 0 < sum(expected) < len(expected)
    assert reached(scorer, asked, 1).tolist() == expected
    probed = probe(noisy / "dataset", {"a": noisy / "random"}, replace(FAST, split=split), threads=1)
    users = probed["groups"]["users"]
    assert users["reachable"] == sum(expected) and users["reachable"] + users["unreachable"] == len(expected)
    for row in probed["rows"]:
        total = sum(users[group] * row[f"{group}_ndcg@10"] for group in ("reachable", "unreachable"))
        assert total / len(expected) == pytest.approx(row["ndcg@10"])


def test_vectors_that_know_the_items_are_told_from_noise_and_from_shuffled_ones(noisy: Path) -> None:
    config = replace(FAST, control="shuffled", resamples=2000)
    probed = probe(noisy / "dataset", {"circle": noisy / "circle"}, config, threads=1)
    kinds = [f"circle, {kind}{control}" for kind in ("states", "preferences", "both") for control in ("", ", shuffled")]
    assert [row["name"] for row in probed["rows"]] == ["transitions", *kinds, *(f"transitions + {kind}"
                                                                               for kind in kinds)]
    assert [row["with_transitions"] for row in probed["rows"]] == [True] + 6 * [False] + 6 * [True]
    tests = probed["comparisons"]
    assert [(test["arm"], test["baseline"]) for test in tests] == [
        (prefix + kind, prefix + kinds[0]) for prefix in ("", "transitions + ") for kind in kinds[1:]]
    assert {(test["metric"], test["group"], test["test"]) for test in tests} == {("ndcg@10", "all", "permutation")}
    assert [test["p_holm"] for test in tests] == holm([test["p_value"] for test in tests]).tolist()
    values = {row["name"]: row["ndcg@10"] for row in probed["rows"]}
    assert all(test["difference"] == pytest.approx(values[test["arm"]] - values[test["baseline"]]) for test in tests)


def test_the_circle_finds_the_next_item_and_shuffled_it_does_not(cycle: Path, tmp_path: Path) -> None:
    config = replace(FAST, vectors="states", control="shuffled", resamples=2000)
    probed = probe(cycle, {"circle": write_circle(tmp_path / "circle", cycle)}, config, threads=1)
    values = {row["name"]: row["ndcg@10"] for row in probed["rows"]}
    assert values["circle"] > 0.9 > 0.6 > values["circle, shuffled"]
    alone, _ = probed["comparisons"]
    assert alone["arm"] == "circle, shuffled" and alone["difference"] < 0 and alone["p_holm"] < 0.01
    assert probed["groups"]["users"]["unreachable"] == 0
    assert all(row["unreachable_ndcg@10"] is None for row in probed["rows"])


def test_what_is_scored_of_a_set(noisy: Path, tmp_path: Path) -> None:
    sets = {"a": noisy / "circle", "b": noisy / "random"}
    names = [given.name for given in vector_sets(sets, ProbeConfig(cca=True, control="shuffled", vectors="states"))]
    assert names == [f"{name}{control}{model}" for name in sets for control in ("", ", shuffled")
                     for model in ("", ", CCA")]
    kinds = [given.kind for given in vector_sets(sets, ProbeConfig())]
    assert kinds == ["states", "preferences", "both", "states"]
    tuned = write_circle(tmp_path / "tuned", noisy / "dataset", projected=True)
    given = list(vector_sets({"a": tuned}, ProbeConfig()))
    assert [one.kind for one in given] == ["states", "preferences", "both", "projected"]
    asked = list(vector_sets({"a": noisy / "random", "b": tuned}, ProbeConfig(vectors="projected")))
    assert [(one.name, one.kind) for one in asked] == [("a", "states"), ("b", "projected")]
    asked = list(vector_sets({"a": noisy / "circle", "b": tuned}, ProbeConfig(vectors="projected")))
    assert [(one.name, one.kind) for one in asked] == [("a, states", "states"), ("b", "projected")]
    missing, = vector_sets({"a": noisy / "random"}, ProbeConfig(vectors="projected"))
    with pytest.raises(TslrecError, match="has no projected vectors"):
        missing.read(load_dataset(noisy / "dataset")[0], 0)
    dataset, _ = load_dataset(noisy / "dataset")
    assert [one.read(dataset, 0).compared for one in given] == [False, False, False, True]


def test_the_control_is_the_same_vectors_of_other_items(noisy: Path) -> None:
    dataset, _ = load_dataset(noisy / "dataset")
    given = VectorSet("a", noisy / "random", "states")
    rows, shuffled = given.read(dataset, 0).rows, replace(given, control="shuffled").read(dataset, 0).rows
    assert not np.array_equal(rows, shuffled) and not shuffled[0].any()
    assert np.array_equal(np.unique(rows, axis=0), np.unique(shuffled, axis=0))
    assert not np.array_equal(shuffled, replace(given, control="shuffled").read(dataset, 1).rows)


def test_threads_change_nothing(noisy: Path) -> None:
    one, two = (probe(noisy / "dataset", {"a": noisy / "circle", "b": noisy / "random"}, replace(FAST, cca=True),
                      threads=threads) for threads in (1, 2))
    assert one == two


def test_a_file_of_vectors_is_read_with_the_ids_beside_it(noisy: Path, tmp_path: Path) -> None:
    ids = (noisy / "random" / "items.txt").read_text().splitlines()
    rows = np.load(noisy / "random" / "item_embeddings.npy")[1:]
    np.save(tmp_path / "mine.npy", rows[::-1])
    (tmp_path / "mine.ids.txt").write_text("".join(f"{item}\n" for item in ids[::-1]))
    found = [probe(noisy / "dataset", {"a": path}, FAST, threads=1)
             for path in (noisy / "random", tmp_path / "mine.npy")]
    assert found[0] == found[1]


def test_what_cannot_be_probed_is_said(noisy: Path, tmp_path: Path) -> None:
    dataset, good = noisy / "dataset", noisy / "random"
    with write_artifact(tmp_path / "same", Recipe("embed", {}, {})) as folder:
        known = load_dataset(dataset)[0]
        write_embeddings(folder, [(np.arange(known.n_items), np.ones((known.n_items, 4), np.float32))], known)
    write_random_embeddings(tmp_path / "other", replace(known, item_ids=[f"x{item}" for item in known.item_ids]))
    for sets, config, message in (({}, FAST, "there are no item embeddings to probe"),
                                  ({"a": good, "b": tmp_path / "same"}, FAST, "prepare the data with titles"),
                                  ({"a": tmp_path / "other"}, FAST, "are for other items"),
                                  ({"a": good}, replace(FAST, vectors="both"), "has only states"),
                                  ({"a": dataset}, FAST, "expected an embed artifact")):
        with pytest.raises(TslrecError, match=message):
            probe(dataset, sets, config, threads=1)
    short = tmp_path / "short"
    short.mkdir()
    (short / "sequences.txt").write_text("u1 a b\nu2 b a\n")
    (short / "items.tsv").write_text("item_id\ttitle\na\tx\nb\ty\n")
    prepare(short, tmp_path / "untested", PrepareConfig(k_core=0))
    write_random_embeddings(tmp_path / "two", load_dataset(tmp_path / "untested")[0])
    with pytest.raises(TslrecError, match="no user of the data set has a validation target"):
        probe(tmp_path / "untested", {"a": tmp_path / "two"}, FAST, threads=1)


def test_transitions_reach_no_further_back_than_they_read() -> None:
    dataset = dataset_of([[0, 7, 1, 2], [0, 1, 2, 3, 4, 5, 7, 6]])  # in training 7 has followed 0 alone
    asked, made = dataset.evaluation("validation"), Transitions.maker(Knowledge.of(dataset, None, 1))
    assert items_read(0.01) == 2 and items_read(0.95) == 135 and items_read(1.0) is None
    for decay, expected in ((0.95, [True, True]), (0.01, [True, False])):
        scorer = made({"places": 1, "tau": 1.0, "decay": decay, "popularity": 0.0})
        assert reached(scorer, asked, 1).tolist() == expected


def test_rows_have_different_names(noisy: Path) -> None:
    for name in ("transitions", "transitions + a"):
        with pytest.raises(TslrecError, match="two rows would have the same name"):
            probe(noisy / "dataset", {"a": noisy / "random", name: noisy / "random"}, FAST, threads=1)


def test_an_artifact_holds_the_report_and_is_kept(noisy: Path, tmp_path: Path) -> None:
    sets, out = {name: noisy / name for name in ("random", "circle")}, tmp_path / "probe"
    make_probe(noisy / "dataset", sets, FAST, out, threads=1, existing=Existing.REUSE)
    written = (out / "metrics.json").stat().st_mtime_ns
    assert read_json(out / "metrics.json") == probe(noisy / "dataset", sets, FAST, threads=1)
    make_probe(noisy / "dataset", sets, FAST, out, threads=1, existing=Existing.REUSE)
    assert (out / "metrics.json").stat().st_mtime_ns == written
    make_probe(noisy / "dataset", dict(reversed(sets.items())), FAST, out, threads=1, existing=Existing.REUSE)
    assert [row["name"] for row in read_json(out / "metrics.json")["rows"]][1] == "circle, states"
    with pytest.raises(TslrecError, match="already"):
        make_probe(noisy / "dataset", sets, FAST, out, threads=1)
