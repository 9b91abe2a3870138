from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import COUNTING_MODELS, REFITS, EvaluateConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.ranking.metrics import metric_values
from tslrec_min.recommenders.counting.artifact import CLASSES, counted, load_counting, save_counting
from tslrec_min.recommenders.load import load_scorer
from tslrec_min.recommenders.scorer import rank
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import read_json

from ..factories import all_scores, histories_of, known_from

CPU = torch.device("cpu")
ROWS = [[1, 2, 3, 4], [2, 3, 4], [3, 4, 1]]


def test_every_model_of_the_configuration_is_made() -> None:
    assert tuple(CLASSES) == COUNTING_MODELS


@pytest.mark.parametrize("model", COUNTING_MODELS)
def test_the_stored_figure_is_that_of_an_evaluation(cold: Path, trained: Path, tmp_path: Path, model: str) -> None:
    embeddings = trained / "embed" if model.startswith("content") else None
    train(cold, tmp_path / "run", TrainConfig(model=model), embeddings_path=embeddings, device=CPU, threads=1)
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["constants"].keys() == CLASSES[model].grid.keys()
    assert all(value in CLASSES[model].grid[name] for name, value in metrics["constants"].items())
    dataset, dataset_hash = load_dataset(cold)
    asked = dataset.evaluation("validation")
    ranks, = rank(load_scorer(tmp_path / "run", dataset_hash, CPU), asked, [asked.seen(dataset.n_items)], device=CPU)
    assert metric_values(ranks, "ndcg@10").mean() == pytest.approx(metrics["validation_ndcg@10"], rel=1e-9)
    if model == "transitions":
        assert metrics["validation_ndcg@10"] > 0.9  # a cycle
    report = evaluate(cold, {"a": [tmp_path / "run"]}, EvaluateConfig(test="none"), device=CPU, threads=1)
    if model == "popularity":
        for metric, baseline in report["cold"]["popularity"]["all"].items():
            assert report["cold"]["arms"]["a"]["all"][metric]["mean"] == pytest.approx(baseline)


@pytest.mark.parametrize("model", ["popularity", "itemknn", "transitions"])
def test_a_refit_counts_in_its_histories_with_the_constants_of_validation(cycle: Path, tmp_path: Path, model: str
                                                                          ) -> None:
    dataset, _ = load_dataset(cycle)
    counts, constants = {}, []
    for refit in REFITS:
        train(cycle, tmp_path / refit, TrainConfig(model=model, refit=refit), device=CPU, threads=1)
        scorer = load_counting(tmp_path / refit, model)
        constants.append(scorer.constants)
        counts[refit] = {name: values.tolist() for name, values in scorer.arrays().items()}
    assert constants[0] == constants[1] == constants[2]
    for refit, histories in (("none", dataset.training()), ("validation", dataset.before("test")),
                             ("all", dataset.histories)):
        known = known_from([histories.of(user).tolist() for user in range(len(histories))], dataset.n_items)
        expected = CLASSES[model].maker(known)(constants[0]).arrays()
        assert counts[refit] == {name: values.tolist() for name, values in expected.items()}
    assert counts["none"] != counts["validation"] != counts["all"]


@pytest.mark.parametrize("model", ["popularity", "itemknn", "transitions"])
def test_damage_is_named(tmp_path: Path, model: str) -> None:
    scorer, _ = counted(model, known_from(ROWS, 4))
    save_counting(scorer, tmp_path)
    asked = histories_of([[1], [2, 3], []])
    again = load_counting(tmp_path, model)
    np.testing.assert_array_equal(all_scores(again.scores(asked)), all_scores(scorer.scores(asked)))
    arrays = scorer.arrays()
    for name in arrays:
        np.savez(tmp_path / "counts.npz", **{key: value for key, value in arrays.items() if key != name})
        with pytest.raises(TslrecError, match=f"counts.npz does not fit {model}.*run tslrec train again"):
            load_counting(tmp_path, model)
    (tmp_path / "counts.npz").unlink()
    with pytest.raises(TslrecError, match=r"counts\.npz"):
        load_counting(tmp_path, model)


def test_what_is_not_read_is_refused(cycle: Path, embed: Path, tmp_path: Path) -> None:
    for model, more, message in (
            ("popularity", {"embeddings_path": embed}, "--model popularity reads no item embeddings"),
            ("content", {}, "give them with --embeddings"),
            ("itemknn", {"refit_from": tmp_path}, "--model itemknn needs none: leave --refit-from out")):
        with pytest.raises(TslrecError, match=message):
            train(cycle, tmp_path / "out", TrainConfig(model=model), device=CPU, threads=1, **more)
    assert not (tmp_path / "out").exists()
