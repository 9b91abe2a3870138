"""The trainer and the stages pretrain and train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.ranking.metrics import metric_values
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.inference import rank
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, read_json, write_artifact

from ..factories import LEARNING

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def embeddings(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embed artifact of random vectors for the cycle data."""
    dataset, _ = load_dataset(cycle)
    out = tmp_path_factory.mktemp("embed") / "embed"
    vectors = np.random.default_rng(0).normal(size=(dataset.n_items, 40)).astype(np.float32)
    with write_artifact(out, Recipe("embed", {}, {})) as folder:
        write_embeddings(folder, [(np.arange(dataset.n_items), vectors)], dataset)
    return out


def trained_metrics(cycle: Path, out: Path) -> dict[str, float]:
    """Metrics on the test targets, which are known."""
    dataset, dataset_hash = load_dataset(cycle)
    asked = dataset.evaluation("test")
    ranks, = rank(load_recommender(out, dataset_hash, CPU), asked, [asked.seen(dataset.n_items)], device=CPU)
    return {name: metric_values(ranks, name).mean() for name in ("hr@5", "ndcg@5")}


@pytest.mark.parametrize("adapter", ["none", "linear", "init"])
def test_learns_a_known_answer(cycle: Path, embeddings: Path, tmp_path: Path, adapter: str) -> None:
    train(cycle, tmp_path / "run", TrainConfig(adapter=adapter, **LEARNING), device=CPU, threads=1,
          embeddings_path=None if adapter == "none" else embeddings)
    found = trained_metrics(cycle, tmp_path / "run")
    assert found["hr@5"] == 1.0 and found["ndcg@5"] > 0.95
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["validation_ndcg@10"] == max(epoch["validation_ndcg@10"] for epoch in metrics["epochs"])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # the checkpoint is gone


@pytest.mark.parametrize("settings", [
    {"model": "gru4rec", "units": 24, "epochs": 40}, {"model": "bert4rec", "mask_probability": 0.4, "epochs": 40},
    {"block": "ligr"}, {"model": "bsarec", "precision": "bf16"},
    {"model": "bert4rec", "loss": "sampled", "negatives": 8, "epochs": 60, "patience": 30},
    {"loss": "sampled", "negatives": 8}, {"loss": "sampled", "negatives": 8, "sampling": "popularity"},
    {"loss": "sampled", "negatives": 32, "sampling": "batch"},
    {"loss": "sampled", "negatives": 8, "sampling": "shared"},
    {"loss": "bce", "negatives": 1, "epochs": 30}, {"loss": "gbce", "negatives": 4, "epochs": 30},
    {"precision": "bf16"}, {"decay": "cosine", "warmup_steps": 5, "weight_decay": 0.01},
], ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_model_and_loss_learns_it(cycle: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    train(cycle, tmp_path / "run", TrainConfig(**LEARNING | {"blocks": 1} | settings), device=CPU, threads=1)
    assert trained_metrics(cycle, tmp_path / "run")["ndcg@5"] > 0.9


def test_files_of_tensors_are_as_private_as_the_user_wants(cycle: Path, tmp_path: Path) -> None:
    train(cycle, tmp_path / "run", TrainConfig(**LEARNING | {"epochs": 1}), device=CPU, threads=1)
    modes = {path.stat().st_mode for path in (tmp_path / "run").iterdir()}
    assert len(modes) == 1


def test_embeddings_of_another_catalogue_are_refused_by_name(cycle: Path, embeddings: Path) -> None:
    dataset, _ = load_dataset(cycle)
    vectors = load_item_embeddings(embeddings, dataset).known
    assert vectors.shape == (25, 40) and not vectors[0].any()
    other = replace(dataset, item_ids=[*dataset.item_ids[:-1], "newcomer"])
    with pytest.raises(TslrecError, match=r"without newcomer, with unknown i9.*tslrec embed"):
        load_item_embeddings(embeddings, other)
    with pytest.raises(TslrecError, match="another order"):
        load_item_embeddings(embeddings, replace(dataset, item_ids=[*reversed(dataset.item_ids)]))


def test_impossible_training_is_refused(cycle: Path, tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="not a multiple of --heads"):
        train(cycle, tmp_path / "x", TrainConfig(width=10, heads=3), device=CPU, threads=1)
    with pytest.raises(TslrecError, match="lower --learning-rate"):
        train(cycle, tmp_path / "x", TrainConfig(learning_rate=1e30, epochs=20), device=CPU, threads=1)
    assert not (tmp_path / "x").exists()
