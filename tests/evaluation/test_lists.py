"""What is reported about the lists that runs recommend, compared with the lists of `recommend`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import tslrec_min
from tslrec_min.cli import main
from tslrec_min.cli.formats import formatted
from tslrec_min.configs import EvaluateConfig, PrepareConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.compare import compare
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.ranking.beyond_accuracy import ListStatistics
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, open_artifact, write_artifact

from ..factories import N_ITEMS

CPU = torch.device("cpu")
NAMES = ["coverage@10", "gini@10", "popularity@10", "percentile@10", "novelty@10"]


@pytest.fixture(scope="module")
def vectors(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vectors") / "embed"
    rows = np.random.default_rng(0).standard_normal((N_ITEMS, 12)).astype(np.float32)
    with write_artifact(out, Recipe("embed", {}, {})) as folder:
        write_embeddings(folder, [(np.arange(N_ITEMS), rows)], load_dataset(cycle)[0])
    return out


def lists_of(cycle: Path, run: Path, split: str) -> np.ndarray:
    """Ten items for every evaluated user by the function `recommend`, which knows no targets."""
    dataset, _ = load_dataset(cycle)
    asked = dataset.evaluation(split)
    histories = [[dataset.item_ids[item - 1] for item in asked.histories.of(user)] for user in asked.users]
    lists = np.zeros((len(asked.users), 10), np.int64)
    for row in tslrec_min.recommend(cycle, run, histories=histories, k=10, threads=1):
        lists[int(row["user"]), row["rank"] - 1] = 1 + dataset.item_ids.index(row["item"])
    return lists


@pytest.mark.parametrize("split", ["validation", "test"])
def test_figures_are_those_of_the_lists_that_are_recommended(cycle: Path, runs: list[Path], vectors: Path, split: str
                                                             ) -> None:
    report = evaluate(cycle, {"a": runs[:2], "b": runs[2:]}, EvaluateConfig(split=split, test="none"),
                      list_vectors=vectors, device=CPU, threads=1)
    counts = np.bincount(load_dataset(cycle)[0].training().items, minlength=N_ITEMS + 1)
    for arm, of_arm in (("a", runs[:2]), ("b", runs[2:])):
        found = report["arms"][arm]["beyond_accuracy"]
        assert list(found) == [*NAMES, "distance@10"]
        for place, run in enumerate(of_arm):
            statistics = ListStatistics(counts, np.load(vectors / "item_embeddings.npy"))
            statistics.add(lists_of(cycle, run, split))
            expected = {f"{name}@10": value for name, value in statistics.figures().items()}
            assert {name: figures["runs"][place] for name, figures in found.items()} == pytest.approx(expected)
        assert found["gini@10"]["mean"] == pytest.approx(np.mean(found["gini@10"]["runs"]))
    assert report["arms"]["b"]["beyond_accuracy"]["gini@10"]["std"] == 0


def test_they_are_printed_in_every_format(cycle: Path, runs: list[Path], vectors: Path) -> None:
    words = ["evaluate", cycle, f"a={runs[0]}", f"a={runs[1]}", f"b={runs[2]}", "--threads", 1, "--resamples", 100]
    done = CliRunner().invoke(main, [*map(str, words), "--json"], catch_exceptions=False)
    report = json.loads(done.stdout)
    found = report["arms"]["b"]["beyond_accuracy"]
    assert list(found) == NAMES  # no vectors, no distance
    text = CliRunner().invoke(main, [*map(str, words), "--list-vectors", str(vectors)], catch_exceptions=False).stdout
    table = text[text.index("the 10 best items of every user"):].splitlines()
    assert table[1].split() == ["catalogue", "Gini", "popularity", "less", "popular", "novelty", "distance"]
    row = next(line for line in table if line.startswith("b ")).split()
    assert row[1:4] == [f"{found['coverage@10']['mean']:.1%}", f"{found['gini@10']['mean']:.3f}",
                        f"{found['popularity@10']['mean']:.1f}"]
    assert "±" in next(line for line in table if line.startswith("a ")) and "1 - cosine" in table[-1]
    assert "distance" not in formatted(report, "markdown") and "Gini" in formatted(report, "markdown")
    rows = {(row["arm"], row["metric"]): row for row in csv.DictReader(io.StringIO(formatted(report, "csv")))
            if row["protocol"] == "filtered" and row["group"] == "all"}
    assert float(rows["b", "novelty@10"]["mean"]) == found["novelty@10"]["mean"]
    ratio = found["gini@10"]["mean"] / report["arms"]["a"]["beyond_accuracy"]["gini@10"]["mean"]
    assert float(rows["b", "gini@10"]["relative"]) == pytest.approx(ratio - 1)


def test_vectors_may_be_a_file_and_are_an_input(cycle: Path, runs: list[Path], vectors: Path, tmp_path: Path) -> None:
    ids = load_dataset(cycle)[0].item_ids
    np.save(tmp_path / "items.npy", np.load(vectors / "item_embeddings.npy")[1:])
    (tmp_path / "items.ids.txt").write_text("".join(f"{item}\n" for item in ids))
    reports = [evaluate(cycle, {"a": runs[:1]}, EvaluateConfig(test="none"), list_vectors=path, device=CPU, threads=1,
                        out=tmp_path / name)
               for name, path in (("one", vectors), ("two", tmp_path / "items.npy"))]
    assert reports[0] == reports[1]
    inputs = [open_artifact(tmp_path / name, "evaluate").record["inputs"] for name in ("one", "two")]
    assert inputs[0]["list_embeddings"] == open_artifact(vectors, "embed").hash
    assert set(inputs[1]) == {*inputs[0], "list_embedding_ids"}
    (tmp_path / "items.ids.txt").unlink()
    with pytest.raises(TslrecError, match=r"items\.ids\.txt does not exist"):
        evaluate(cycle, {"a": runs[:1]}, EvaluateConfig(), list_vectors=tmp_path / "items.npy", device=CPU, threads=1)


def test_a_comparison_keeps_the_figures_that_are_comparable(cycle: Path, runs: list[Path], vectors: Path,
                                                            tmp_path: Path) -> None:
    other = tmp_path / "vectors.npz"
    np.savez(other, ids=np.array(load_dataset(cycle)[0].item_ids), vectors=np.eye(N_ITEMS))
    arms = {"a": runs[:1], "b": runs[1:2], "c": runs[2:]}
    reports = {arm: evaluate(cycle, {arm: of_arm}, EvaluateConfig(test="none"), out=tmp_path / arm, device=CPU,
                             threads=1, list_vectors=other if arm == "c" else vectors)
               for arm, of_arm in arms.items()}
    config = EvaluateConfig(test="none")
    for compared, names in (("ab", [*NAMES, "distance@10"]), ("ac", NAMES)):
        found = compare([str(tmp_path / arm) for arm in compared], config)["arms"]
        for arm in compared:
            stored = reports[arm]["arms"][arm]["beyond_accuracy"]
            assert found[arm]["beyond_accuracy"] == {name: stored[name] for name in names}


def test_cold_items_are_in_no_list(cold: Path, trained: Path) -> None:
    report = evaluate(cold, {"linear": [trained / "linear"]}, EvaluateConfig(test="none"),
                      list_vectors=trained / "embed", device=CPU, threads=1)
    found = report["arms"]["linear"]["beyond_accuracy"]
    assert "cold" in report and 0 < found["coverage@10"]["mean"] <= 1 and 0 < found["distance@10"]["mean"] < 2


def test_lists_may_be_short_or_empty(tmp_path: Path) -> None:
    """Everybody has had all four items but the target, or all of them, if the last one is repeated."""
    for name, repeated in (("short", False), ("empty", True)):
        rows = [f"u{user},i{(user + step) % 4},{step}" for user in range(6) for step in range(4)]
        rows += [f"u{user},i{user % 4},9" for user in range(6) if repeated]
        (tmp_path / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows))
        prepare(tmp_path / "ratings.csv", tmp_path / name, PrepareConfig(k_core=1, missing_titles="blank"))
        config = TrainConfig(width=8, blocks=1, max_len=4, epochs=1)
        train(tmp_path / name, tmp_path / f"{name}-run", config, device=CPU, threads=1)
        report = evaluate(tmp_path / name, {"a": [tmp_path / f"{name}-run"]}, EvaluateConfig(test="none"), device=CPU,
                          threads=1)
        found = report["arms"]["a"]["beyond_accuracy"]
        assert found.keys() == (set() if repeated else set(NAMES))
        assert ("best items of every user" in formatted(report, "table")) != repeated
