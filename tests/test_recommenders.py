"""The trainer and the stages pretrain and train."""

from __future__ import annotations

import contextlib
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.categories.artifact import load_categories
from tslrec_min.categories.pretrain import pretrain
from tslrec_min.configs import PretrainConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.ranking.metrics import metric_values
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.inference import rank
from tslrec_min.recommenders.train import train
from tslrec_min.recommenders.training import learning_rate
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import Recipe, open_artifact, read_json, write_artifact
from tslrec_min.storage.checkpoints import Checkpointing
from tslrec_min.storage.existing import Existing

CPU = torch.device("cpu")
CLIP = torch.nn.utils.clip_grad_norm_
SMALL = {"width": 16, "blocks": 1, "max_len": 8, "batch_size": 32, "learning_rate": 5e-3, "epochs": 12, "dropout": 0.1}


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
    train(cycle, tmp_path / "run", TrainConfig(adapter=adapter, **SMALL), device=CPU, threads=1,
          embeddings_path=None if adapter == "none" else embeddings)
    found = trained_metrics(cycle, tmp_path / "run")
    assert found["hr@5"] == 1.0 and found["ndcg@5"] > 0.95
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["validation_ndcg@10"] == max(epoch["validation_ndcg@10"] for epoch in metrics["epochs"])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # the checkpoint is gone


@pytest.mark.parametrize("settings", [
    {"model": "gru4rec", "units": 24, "epochs": 40}, {"model": "bert4rec", "mask_probability": 0.4, "epochs": 40},
    {"model": "bert4rec", "loss": "sampled", "negatives": 8, "epochs": 60, "patience": 30},
    {"loss": "sampled", "negatives": 8}, {"loss": "sampled", "negatives": 8, "sampling": "popularity"},
    {"loss": "sampled", "negatives": 32, "sampling": "batch"},
    {"loss": "sampled", "negatives": 8, "sampling": "shared"},
    {"loss": "bce", "negatives": 1, "epochs": 30}, {"loss": "gbce", "negatives": 4, "epochs": 30},
    {"precision": "bf16"}, {"decay": "cosine", "warmup_steps": 5, "weight_decay": 0.01},
], ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_model_and_loss_learns_it(cycle: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    train(cycle, tmp_path / "run", TrainConfig(**SMALL | {"blocks": 1} | settings), device=CPU, threads=1)
    assert trained_metrics(cycle, tmp_path / "run")["ndcg@5"] > 0.9


def test_same_seed_same_weights_for_any_kernel_threads(cycle: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    states = []
    for name, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        config = TrainConfig(seed=seed, **SMALL | {"epochs": 2, "loss": "sampled", "negatives": 7})
        train(cycle, tmp_path / name, config, device=CPU, threads=threads)
        states.append(load_file(tmp_path / name / "model.safetensors"))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["adapter.weight"], states[2]["adapter.weight"])
    assert open_artifact(tmp_path / "a", "train").hash == open_artifact(tmp_path / "b", "train").hash


class Steps:
    """Stands in for the clipping of gradients, counts its calls, and is interrupted, as by Ctrl-C, at one of them."""

    def __init__(self, most: float = math.inf) -> None:
        self.taken, self.most = 0, most

    def __call__(self, *arguments, **options):
        if self.taken >= self.most:
            raise KeyboardInterrupt
        self.taken += 1
        return CLIP(*arguments, **options)


@pytest.mark.parametrize("model", ["sasrec", "gru4rec", "bert4rec"])
def test_a_resumed_training_ends_as_an_uninterrupted_one(cycle: Path, tmp_path: Path, monkeypatch, capfd, model: str
                                                         ) -> None:
    torch.set_num_threads(1)
    config = TrainConfig(**SMALL | {"model": model, "epochs": 4, "batch_size": 8, "loss": "sampled", "negatives": 4,
                                    "decay": "linear", "weight_decay": 0.1, "table_decay": 0.2, "units": 8})
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))  # after every step
    taken = []
    for out, most in (("whole", math.inf), ("parts", 0), ("parts", 3), ("parts", 20), ("parts", math.inf)):
        steps = Steps(most)
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", steps)
        with contextlib.nullcontext() if most == math.inf else pytest.raises(KeyboardInterrupt):
            train(cycle, tmp_path / out, config, device=CPU, threads=1)
        taken.append(steps.taken)
    assert taken == [60, 0, 3, 20, 37]  # none is taken twice; 15 make an epoch
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert open_artifact(tmp_path / "whole", "train").hash == open_artifact(tmp_path / "parts", "train").hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    output = capfd.readouterr()
    assert not output.out and "going on after 1 epochs and 8 steps" in output.err
    assert f"{tmp_path / 'parts'}: going on after" in output.err


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_taken_up(cycle: Path, tmp_path: Path, monkeypatch,
                                                                         capfd) -> None:
    config = TrainConfig(**SMALL | {"epochs": 2})
    train(cycle, tmp_path / "whole", config, device=CPU, threads=1)
    wanted = open_artifact(tmp_path / "whole", "train").hash
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.nn.utils, "clip_grad_norm_", Steps(3))
        train(cycle, tmp_path / "run", replace(config, seed=5), device=CPU, threads=1)
    checkpoint = tmp_path / ".run.checkpoint"
    capfd.readouterr()
    whole = checkpoint.read_bytes()
    for content, word in ((whole, "of other settings"), (whole[:1000], ""), (b"", "")):
        checkpoint.write_bytes(content)
        train(cycle, tmp_path / "run", config, device=CPU, threads=1, existing=Existing.REUSE)
        assert word in capfd.readouterr().err
        assert open_artifact(tmp_path / "run", "train").hash == wanted and not checkpoint.exists()
        shutil.rmtree(tmp_path / "run")


def test_files_of_tensors_are_as_private_as_the_user_wants(cycle: Path, tmp_path: Path) -> None:
    train(cycle, tmp_path / "run", TrainConfig(**SMALL | {"epochs": 1}), device=CPU, threads=1)
    modes = {path.stat().st_mode for path in (tmp_path / "run").iterdir()}
    assert len(modes) == 1


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainConfig(learning_rate=1.0, warmup_steps=10, decay="linear")
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == 0.1 and np.argmax(rates) in (9, 10) and rates[50] == 0.5 and rates[99] == pytest.approx(0.01)
    cosine = [learning_rate(replace(config, decay="cosine"), step, 100) for step in range(100)]
    assert cosine[50] == pytest.approx(0.5) and cosine[99] < 0.001 and cosine[20] > rates[20]
    assert learning_rate(replace(config, decay="none"), 99, 100) == 1.0


def test_pretrain_writes_categories(cycle: Path, tmp_path: Path) -> None:
    pretrain(cycle, tmp_path / "pre", PretrainConfig(categories=4, **SMALL | {"epochs": 2}), device=CPU, threads=1)
    dataset, dataset_hash = load_dataset(cycle)
    categories, _ = load_categories(tmp_path / "pre", dataset, dataset_hash)
    assert categories.n_categories == 4 and set(categories.labels[1:]) == set(range(4)) and categories.labels[0] == -1
    assert sum(read_json(tmp_path / "pre" / "metrics.json")["categories"]["sizes"]) == dataset.n_items
    with pytest.raises(TslrecError, match="another data set"):
        load_categories(tmp_path / "pre", dataset, "0" * 64)


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
