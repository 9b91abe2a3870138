from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.configs import TrainConfig
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.pipeline.trainings import Trainings
from tslrec_min.storage.artifacts import read_json

ARMS = """
seeds = [3, 5]
[train]
width = 16
[[arms]]
name = "counts"
parts = ["transitions", "content:encoder"]
[[arms]]
name = "likely"
model = "popularity"
[[arms]]
name = "TSLRec"
embeddings = "tuned"
adapter = "init"
[[arms]]
name = "system"
parts = ["content:encoder", "likely", "TSLRec"]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Trainings:
    (tmp_path / "run.toml").write_text(ARMS)
    return Trainings(load_run_config(tmp_path / "run.toml"), Path("out"))


def test_what_learns_with_a_seed_is_made_with_every_seed(plan: Trainings) -> None:
    assert list(plan.alone) == ["parts/transitions", "parts/content-encoder", "train/2-likely"]
    assert list(plan.trained) == ["train/3-tslrec-3", "train/3-tslrec-5"]
    assert list(plan.sums) == ["train/1-counts", "train/4-system-3", "train/4-system-5"]
    assert plan.count == 8
    assert {arm: [str(run) for run in runs] for arm, runs in plan.runs.items()} == {
        "counts": ["out/train/1-counts"], "likely": ["out/train/2-likely"],
        "TSLRec": ["out/train/3-tslrec-3", "out/train/3-tslrec-5"],
        "system": ["out/train/4-system-3", "out/train/4-system-5"]}


def test_a_sum_has_the_parts_of_its_seed(plan: Trainings) -> None:
    assert plan.sums["train/1-counts"] == {"dataset": Path("out/dataset"), "parts": {
        "transitions": Path("out/parts/transitions"), "content:encoder": Path("out/parts/content-encoder")}}
    assert plan.sums["train/4-system-5"]["parts"] == {
        "content:encoder": Path("out/parts/content-encoder"), "likely": Path("out/train/2-likely"),
        "TSLRec": Path("out/train/3-tslrec-5")}


def test_runs_have_their_arms_settings_embeddings_and_seed(plan: Trainings) -> None:
    trained = plan.trained["train/3-tslrec-5"]
    assert trained == {"dataset_path": Path("out/dataset"), "config": TrainConfig(width=16, adapter="init", seed=5),
                       "label": "TSLRec, seed 5", "embeddings_path": Path("out/embed")}
    assert plan.alone["train/2-likely"]["config"] == TrainConfig(model="popularity", seed=3)
    content = plan.alone["parts/content-encoder"]
    assert content["config"] == TrainConfig(model="content", seed=3)  # not with the keys of [train]
    assert (content["embeddings_path"], content["label"]) == (Path("out/embed-encoder"), "content:encoder")
    assert plan.alone["parts/transitions"]["embeddings_path"] is None


def test_a_run_costs_what_it_was_made_from_once(summed: Path) -> None:
    out, plan = summed / "out", Trainings(load_run_config(summed / "run.toml"), summed / "out")

    def took(*folders: str) -> float:
        return sum(read_json(out / folder / "config.json")["wall_seconds"] for folder in folders)

    content, popularity = ("embed-tfidf", "parts/content-tfidf"), "train/1-popularity"
    assert plan.seconds() == pytest.approx({
        "popularity": took(popularity), "titles": took("train/2-titles", popularity, *content),
        "ids": took("train/3-ids-0", "train/3-ids-1") / 2,
        "system": took("train/4-system-0", "train/4-system-1", "train/3-ids-0", "train/3-ids-1") / 2
        + took("parts/transitions", *content)})


def test_validation_figures_are_means_over_seeds(summed: Path) -> None:
    plan = Trainings(load_run_config(summed / "run.toml"), summed / "out")
    figures = [read_json(summed / "out" / "train" / f"3-ids-{seed}" / "metrics.json")["validation_ndcg@10"]
               for seed in (0, 1)]
    assert plan.validation_scores()["ids"] == pytest.approx(sum(figures) / 2) and figures[0] != figures[1]
