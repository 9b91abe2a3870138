from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.pipeline.run import run
from tslrec_min.pipeline.serving import for_serving
from tslrec_min.pipeline.trainings import Trainings
from tslrec_min.recommenders.fusion.artifact import load_fusion
from tslrec_min.recommenders.learned import EVERYTHING, learned_from
from tslrec_min.storage.artifacts import open_artifact, read_json

from ..factories import tslrec


def test_parts_of_the_first_sum_are_made_from_all_items(summed: Path) -> None:
    out = summed / "out"
    serving = for_serving(Trainings(load_run_config(summed / "run.toml"), out), "system", out)
    assert list(serving.alone) == ["serving-parts/transitions", "serving-parts/content-tfidf"]
    assert list(serving.trained) == ["serving-parts/3-ids-0"] and list(serving.sums) == ["serving"]
    assert {made["config"].refit for made in (*serving.alone.values(), *serving.trained.values())} == {"all"}
    assert serving.trained["serving-parts/3-ids-0"]["refit_from"] == out / "train" / "3-ids-0"
    assert all("refit_from" not in made for made in serving.alone.values())
    assert serving.sums["serving"] == {
        "dataset": out / "dataset", "weights_from": out / "train" / "4-system-0", "parts": {
            "transitions": out / "serving-parts" / "transitions", "ids": out / "serving-parts" / "3-ids-0",
            "content:tfidf": out / "serving-parts" / "content-tfidf"}}


@pytest.mark.parametrize(("arm", "run_name", "trained"), [("popularity", "1-popularity", False),
                                                          ("ids", "3-ids-0", True)])
def test_an_arm_that_is_no_sum_is_made_again_itself(summed: Path, arm: str, run_name: str, trained: bool) -> None:
    out = summed / "out"
    serving = for_serving(Trainings(load_run_config(summed / "run.toml"), out), arm, out)
    assert not serving.sums and serving.count == 1
    made = (serving.trained if trained else serving.alone)["serving"]
    assert made["config"].refit == "all" and made.get("refit_from") == (out / "train" / run_name if trained else None)


def test_what_is_served_has_learned_everything_with_the_weights_that_were_fitted(summed: Path) -> None:
    out = summed / "out"
    served, chosen = open_artifact(out / "serving", "train"), open_artifact(out / "train" / "4-system-0", "train")
    assert served.record["inputs"]["weights_from"] == chosen.hash and served.config["parts"] == chosen.config["parts"]
    ours, theirs = load_fusion(served), load_fusion(chosen)
    np.testing.assert_array_equal(ours.weights.constant, theirs.weights.constant)
    np.testing.assert_array_equal(ours.weights.by_frequency, theirs.weights.by_frequency)
    assert {learned_from(artifact) for artifact in (served, *ours.parts)} == {EVERYTHING}
    first = open_artifact(out / "train" / "3-ids-0", "train")
    network = open_artifact(out / "serving-parts" / "3-ids-0", "train")
    assert network.record["inputs"]["refit_from"] == first.hash and network.hash != first.hash
    assert read_json(network.path / "metrics.json")["refit_epochs"] == read_json(
        first.path / "metrics.json")["best_epoch"]


def test_what_is_served_recommends_what_follows_all_items(summed: Path, tmp_path: Path) -> None:
    out = summed / "out"
    result = tslrec("recommend", out / "dataset", out / "serving", "-k", 1, "-o", tmp_path / "r.csv", "--threads", 1)
    assert result.exit_code == 0, result.output
    dataset = load_dataset(out / "dataset")[0]
    last = {user: dataset.item_ids[items[-1] - 1] for user, items in zip(
        dataset.user_ids, np.split(dataset.histories.items, dataset.histories.indptr[1:-1]), strict=True)}
    rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()[1:]]
    following = [int(row[3][1:]) == (int(last[row[0]][1:]) + 1) % 24 for row in rows]
    assert len(rows) == 60 and np.mean(following) > 0.9  # each item is followed by the next one


def test_what_is_served_changes_with_the_best_arm_unless_the_file_says_no(summed: Path, tmp_path: Path) -> None:
    shutil.copytree(summed / "out", tmp_path / "out")
    arms = (summed / "run.toml").read_text().partition('[[arms]]\nname = "titles"')[0]
    text, config = arms.partition("[train]")[0] + arms[arms.index("[evaluate]"):], tmp_path / "run.toml"
    config.write_text("serving = false\n" + text)
    result = run(load_run_config(config), tmp_path / "out")
    assert result["best"] == "popularity" and result["stages"][-1]["name"] == "evaluate"
    assert open_artifact(tmp_path / "out" / "serving", "train").config["model"] == "fused"  # as it was
    config.write_text(text)
    stages = run(load_run_config(config), tmp_path / "out")["stages"]
    assert [(stage["name"], stage["made"]) for stage in stages][-2:] == [("evaluate", False), ("serving", True)]
    served = open_artifact(tmp_path / "out" / "serving", "train")
    assert served.config["model"] == "popularity" and learned_from(served) == EVERYTHING
    assert not any(stage["made"] for stage in run(load_run_config(config), tmp_path / "out")["stages"])


def test_a_refit_on_validation_items_is_made_again_from_all(tmp_path: Path) -> None:
    config, out = tmp_path / "run.toml", tmp_path / "out"
    config.write_text('[train]\nrefit = "validation"\nwidth = 16\n[[arms]]\n')
    serving = for_serving(Trainings(load_run_config(config), out), "arm 1", out)
    assert serving.trained["serving"]["config"] == TrainConfig(width=16, refit="all")
