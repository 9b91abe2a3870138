from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import EvaluateConfig, PrepareConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.ranking.metrics import metric_values
from tslrec_min.recommenders import fuse as fusing
from tslrec_min.recommenders.fuse import Part, fuse
from tslrec_min.recommenders.learned import learned_from
from tslrec_min.recommenders.load import load_scorer
from tslrec_min.recommenders.scorer import rank
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import open_artifact, read_json
from tslrec_min.storage.existing import Existing

from ..factories import SMALL, write_cycle

CPU = torch.device("cpu")
TWO = [Part("a", "transitions"), Part("b", "popularity")]


def test_what_each_part_brings_is_told(cold: Path, trained: Path, summed: Path) -> None:
    metrics = read_json(summed / "metrics.json")
    assert [part["name"] for part in metrics["parts"]] == ["linear", "text", "transitions"]
    assert metrics["users"] == len(load_dataset(cold)[0].evaluation("validation").users)
    by_name = {part["name"]: part for part in metrics["parts"]}
    assert by_name["transitions"]["validation_ndcg@10"] > 0.8 > by_name["text"]["validation_ndcg@10"]  # a cycle
    assert by_name["transitions"]["without_it"] < metrics["validation_ndcg@10"] - 0.1
    assert list(by_name["text"]["weights"]) == ["1", "5", "20", "100"]
    dataset, dataset_hash = load_dataset(cold)
    asked = dataset.evaluation("validation")
    for name, run in (("linear", trained / "linear"), ("sum", summed)):
        ranks, = rank(load_scorer(run, dataset_hash, CPU), asked, [asked.seen(dataset.n_items)], device=CPU)
        figure = by_name[name]["validation_ndcg@10"] if name in by_name else metrics["validation_ndcg@10"]
        assert metric_values(ranks, "ndcg@10").mean() == pytest.approx(figure, abs=0.03 if name == "sum" else 1e-6)


def test_the_order_of_the_parts_has_no_effect(cold: Path, trained: Path, summed: Path, tmp_path: Path) -> None:
    parts = [Part("text", trained / "embed"), Part("transitions", "transitions"), Part("linear", trained / "linear")]
    fuse(cold, parts, tmp_path / "sum", device=CPU, threads=1)
    assert open_artifact(tmp_path / "sum", "train").hash == open_artifact(summed, "train").hash
    before = (tmp_path / "sum").stat().st_ino
    again = fuse(cold, parts[::-1], tmp_path / "sum", device=CPU, threads=1, existing=Existing.REUSE)
    assert (tmp_path / "sum").stat().st_ino == before and again == read_json(summed / "metrics.json")


def test_an_existing_folder_is_refused_before_parts_are_made(cold: Path, tmp_path: Path) -> None:
    (tmp_path / "sum").mkdir()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TslrecError, match="sum already exists"):
        patch.setattr(fusing, "train", None)
        fuse(cold, TWO, tmp_path / "sum", device=CPU, threads=1)


def test_it_is_evaluated_like_any_run_and_needs_no_part_any_more(cold: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "linear", tmp_path / "part")
    fuse(cold, [*TWO, Part("c", tmp_path / "part")], tmp_path / "sum", device=CPU, threads=1)
    shutil.rmtree(tmp_path / "part")
    runs = {"sum": [tmp_path / "sum"], "linear": [trained / "linear"]}
    first, second = (evaluate(cold, runs, EvaluateConfig(resamples=50), device=CPU, threads=threads)
                     for threads in (1, 2))
    assert first == second
    assert first["arms"]["sum"]["filtered"]["ndcg@10"]["mean"] > 0.7
    assert first["cold"]["arms"]["sum"]["runs"] == ["sum"]


@pytest.mark.parametrize("model", ["popularity", "transitions", "itemknn", "content", "sum"])
def test_threads_change_no_rank(cold: Path, trained: Path, summed: Path, tmp_path: Path, model: str) -> None:
    dataset, dataset_hash = load_dataset(cold)
    asked, run = dataset.evaluation("test"), summed
    if model != "sum":
        run = tmp_path / "run"
        train(cold, run, TrainConfig(model=model), embeddings_path=trained / "embed" if model == "content" else None,
              device=CPU, threads=2)
    found = [rank(load_scorer(run, dataset_hash, CPU), asked, [asked.seen(dataset.n_items), None], device=CPU,
                  threads=threads) for threads in (1, 2)]
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one.greater, two.greater) and np.array_equal(one.equal, two.equal)


def test_a_sum_is_a_part_of_another_one(cold: Path, summed: Path, tmp_path: Path) -> None:
    fuse(cold, [Part("sum", summed), Part("popularity", "popularity")], tmp_path / "both", device=CPU, threads=1)
    found = evaluate(cold, {"both": [tmp_path / "both"]}, EvaluateConfig(test="none"), device=CPU, threads=1)
    assert found["arms"]["both"]["filtered"]["ndcg@10"]["mean"] > 0.7
    assert found["cold"]["arms"]["both"]["runs"] == ["both"]


def test_the_same_recommender_is_no_two_parts(cold: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "linear", tmp_path / "copy")
    parts = [Part("linear", trained / "linear"), Part("popularity", "popularity"), Part("twin", tmp_path / "copy")]
    with pytest.raises(TslrecError, match="the parts linear and twin are the same recommender"):
        fuse(cold, parts, tmp_path / "sum", device=CPU, threads=1)
    assert not (tmp_path / "sum").exists()


def test_weights_are_taken_over_for_refits(cold: Path, trained: Path, summed: Path, refitted_run: Path, tmp_path: Path
                                           ) -> None:
    parts = [Part("linear", refitted_run), Part("transitions", "transitions"), Part("text", trained / "embed")]
    with pytest.raises(TslrecError, match=r"linear learned from the training and validation items \(n-1\)"):
        fuse(cold, parts, tmp_path / "refit", device=CPU, threads=1)
    metrics = fuse(cold, parts, tmp_path / "refit", weights_from=summed, device=CPU, threads=1)
    assert metrics == read_json(summed / "metrics.json") | {"weights_from": "sum"}
    made = open_artifact(tmp_path / "refit", "train")
    assert (tmp_path / "refit" / "weights.json").read_bytes() == (summed / "weights.json").read_bytes()
    assert learned_from(made) == "n-1" and made.record["inputs"]["weights_from"] == open_artifact(summed, "train").hash
    counted = [np.load(run / "parts" / "2" / "counts.npz")["counts"] for run in (summed, tmp_path / "refit")]
    dataset, _ = load_dataset(cold)
    assert counted[1].sum() == len(dataset.before("test").items) > counted[0].sum() == len(dataset.training().items)
    evaluate(cold, {"a": [tmp_path / "refit"]}, EvaluateConfig(test="none"), device=CPU, threads=1)
    with pytest.raises(TslrecError, match="has seen the validation targets"):
        evaluate(cold, {"a": [tmp_path / "refit"]}, EvaluateConfig(split="validation"), device=CPU, threads=1)


def test_parts_have_learned_from_the_same_histories(cold: Path, trained: Path, summed: Path, refitted_run: Path,
                                                    tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="linear and text can't be compared, as they learned from different"):
        fuse(cold, [Part("linear", refitted_run), Part("text", trained / "none")], tmp_path / "out",
             weights_from=summed, device=CPU, threads=1)


def test_weights_are_only_those_of_a_sum_with_the_same_names(cold: Path, trained: Path, summed: Path, tmp_path: Path
                                                             ) -> None:
    for other, message in ((summed, "is a sum of linear, text, transitions; expected one of parts with the names a, b"),
                           (trained / "none", "is not a sum; expected one of parts with the names a, b")):
        with pytest.raises(TslrecError, match=message):
            fuse(cold, TWO, tmp_path / "out", weights_from=other, device=CPU, threads=1)
    assert not (tmp_path / "out").exists()


def test_everything_is_of_the_same_data_set(cycle: Path, trained: Path, summed: Path, tmp_path: Path) -> None:
    for parts, other in (([TWO[0], Part("x", trained / "none")], None), (TWO, summed)):
        with pytest.raises(TslrecError, match="was trained on another data set"):
            fuse(cycle, parts, tmp_path / "out", weights_from=other, device=CPU, threads=1)


def test_without_validation_targets_there_is_nothing_to_fit_on(trained: Path, tmp_path: Path) -> None:
    write_cycle(tmp_path / "raw", n_users=1)
    prepare(tmp_path / "raw", tmp_path / "one", PrepareConfig(k_core=0))
    with pytest.raises(TslrecError, match="the data set has 1 validation targets; weights need at least 2"):
        fuse(tmp_path / "one", TWO, tmp_path / "out", device=CPU, threads=1)
    (tmp_path / "raw" / "sequences.txt").write_text("u0 i1 i2\nu1 i3 i4\n")
    prepare(tmp_path / "raw", tmp_path / "none", PrepareConfig(k_core=0))
    for model in ("popularity", "itemknn", "transitions"):
        with pytest.raises(TslrecError, match="no target to choose constants by"):
            train(tmp_path / "none", tmp_path / model, TrainConfig(model=model), device=CPU, threads=1)


def test_two_users_and_five_items_suffice(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "sequences.txt").write_text("u0 i1 i2 i3 i4\nu1 i2 i3 i4 i5\nu2 i1\n")
    (tmp_path / "raw" / "items.tsv").write_text("item_id\ttitle\n" + "".join(f"i{n}\tTitle {n}\n" for n in range(6)))
    prepare(tmp_path / "raw", tmp_path / "dataset", PrepareConfig(k_core=0))
    fuse(tmp_path / "dataset", [*TWO, Part("c", "itemknn")], tmp_path / "sum", device=CPU, threads=1)
    found = evaluate(tmp_path / "dataset", {"a": [tmp_path / "sum"]}, EvaluateConfig(test="none"), device=CPU,
                     threads=1)
    assert 0 <= found["arms"]["a"]["filtered"]["ndcg@10"]["mean"] <= 1


def test_an_interrupted_one_leaves_nothing_and_a_failed_replacement_the_old_one(
        cold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fusing, "save_weights", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fuse(cold, TWO, tmp_path / "sum", device=CPU, threads=1)
    assert list(tmp_path.iterdir()) == []
    fuse(cold, TWO, tmp_path / "sum", device=CPU, threads=1)
    before = open_artifact(tmp_path / "sum", "train").hash
    with monkeypatch.context() as patch:
        patch.setattr(fusing, "save_weights", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fuse(cold, [*TWO, Part("c", "itemknn")], tmp_path / "sum", device=CPU, threads=1,
                 existing=Existing.OVERWRITE)
    assert open_artifact(tmp_path / "sum", "train").hash == before and len(list(tmp_path.iterdir())) == 1


def test_no_file_depends_on_when_or_where_it_was_made(cold: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fuse(cold, TWO, tmp_path / name, device=CPU, threads=1)
    files = [json.loads((tmp_path / name / "config.json").read_text())["files"] for name in ("one", "two")]
    assert files[0] == files[1] and "parts/0/part.json" in files[0]
    assert str(tmp_path) not in "".join((tmp_path / "one" / name).read_text() for name in files[0]
                                        if name.endswith(".json"))


def test_a_network_of_every_kind_can_be_a_part(cold: Path, tmp_path: Path) -> None:
    for model in ("gru4rec", "bert4rec"):
        train(cold, tmp_path / model, TrainConfig(model=model, **{key: value for key, value in SMALL.items()
                                                                  if key != "blocks" or model != "gru4rec"}),
              device=CPU, threads=1)
    metrics = fuse(cold, [Part(model, tmp_path / model) for model in ("gru4rec", "bert4rec")], tmp_path / "sum",
                   device=CPU, threads=1)
    found = evaluate(cold, {"a": [tmp_path / "sum"]}, EvaluateConfig(test="none"), device=CPU, threads=1)
    assert len(metrics["parts"]) == 2
    assert found["cold"]["arms"]["a"]["reason"] == (
        "sum: no part of the sum has vectors for other items than it was trained with")
