"""The trainer and the stages pretrain and train."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.ranking.metrics import metric_values
from tslrec_min.recommenders.artifact import load_cold_rows
from tslrec_min.recommenders.load import load_scorer
from tslrec_min.recommenders.scorer import rank
from tslrec_min.recommenders.train import train
from tslrec_min.recommenders.training import refitted
from tslrec_min.storage import checkpoints
from tslrec_min.storage.artifacts import Recipe, open_artifact, read_json, write_artifact
from tslrec_min.storage.checkpoints import Checkpointing

from ..factories import LEARNING, SMALL, Steps

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
    ranks, = rank(load_scorer(out, dataset_hash, CPU), asked, [asked.seen(dataset.n_items)], device=CPU)
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


REFIT = TrainConfig(refit="validation", **LEARNING | {"epochs": 6, "patience": 1, "batch_size": 16, "decay": "cosine",
                                                      "learning_rate": 2e-2, "loss": "sampled", "negatives": 4})


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(path / "model.safetensors") for path in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_refit_learns_from_more_items_for_the_best_number_of_epochs(cycle: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cycle)
    train(cycle, tmp_path / "none", replace(REFIT, refit="none"), device=CPU, threads=1)
    first = read_json(tmp_path / "none" / "metrics.json")
    assert 1 <= first["best_epoch"] < len(first["epochs"]) and "refit" not in first  # it stopped early
    for refit, histories in (("validation", dataset.evaluation("test").histories), ("all", dataset.histories)):
        out, config = tmp_path / refit, replace(REFIT, refit=refit)
        train(cycle, out, config, device=CPU, threads=1)
        metrics = read_json(out / "metrics.json")
        assert {name: value for name, value in metrics.items() if not name.startswith("refit")} == first
        assert (metrics["refit"], metrics["refit_epochs"]) == (refit, first["best_epoch"])
        assert open_artifact(out, "train").config["refit"] == refit
        expected, losses = refitted(dataset.n_items, histories, config, None, first["best_epoch"], CPU, 1)
        found = load_file(out / "model.safetensors")
        assert metrics["refit_losses"] == losses and len(losses) == first["best_epoch"]
        assert all(torch.equal(found[name], weights) for name, weights in expected.state_dict().items())
        assert not same_weights(out, tmp_path / "none")


def test_an_interrupted_refit_ends_as_an_uninterrupted_one(cycle: Path, tmp_path: Path, monkeypatch,
                                                           capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checkpoints, "Checkpointing", partial(Checkpointing, seconds=0.0))  # after every step
    whole = Steps()
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", whole)
    train(cycle, tmp_path / "whole", REFIT, device=CPU, threads=1)
    metrics = read_json(tmp_path / "whole" / "metrics.json")
    per_epoch = whole.taken // (len(metrics["epochs"]) + metrics["refit_epochs"])
    first = per_epoch * len(metrics["epochs"])
    taken = []
    for most in (first - 2, 2, 3, math.inf):  # in the first training, where the second begins, and twice in it
        steps = Steps(most)
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", steps)
        with contextlib.nullcontext() if most == math.inf else pytest.raises(KeyboardInterrupt):
            train(cycle, tmp_path / "parts", REFIT, device=CPU, threads=1)
        taken.append(steps.taken)
    assert sum(taken) == whole.taken and taken[-1] < per_epoch * metrics["refit_epochs"]  # no step is taken twice
    hashes = [open_artifact(tmp_path / name, "train").hash for name in ("whole", "parts")]
    assert hashes[0] == hashes[1] and sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    assert f"resuming after {len(metrics['epochs'])} epochs and 0 steps" in capfd.readouterr().err


def test_the_first_training_can_be_that_of_another_run(cycle: Path, tmp_path: Path, monkeypatch) -> None:
    for name, config in (("none", replace(REFIT, refit="none")), ("whole", REFIT)):
        train(cycle, tmp_path / name, config, device=CPU, threads=1)
    steps = Steps()
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", steps)
    train(cycle, tmp_path / "from", REFIT, refit_from=tmp_path / "none", device=CPU, threads=1)
    metrics = read_json(tmp_path / "from" / "metrics.json")
    assert metrics == read_json(tmp_path / "whole" / "metrics.json") and same_weights(tmp_path / "from",
                                                                                     tmp_path / "whole")
    record = open_artifact(tmp_path / "from", "train").record
    assert record["inputs"]["refit_from"] == open_artifact(tmp_path / "none", "train").hash
    train(cycle, tmp_path / "again", replace(REFIT, refit="all"), refit_from=tmp_path / "from", device=CPU, threads=1)
    assert read_json(tmp_path / "again" / "metrics.json")["epochs"] == metrics["epochs"]
    for config, message in ((replace(REFIT, refit="none"), "only used with --refit validation or all; got --refit n"),
                            (replace(REFIT, width=8, seed=3), "has other settings: width 16, here 8, seed 0, here 3")):
        with pytest.raises(TslrecError, match=message):
            train(cycle, tmp_path / "other", config, refit_from=tmp_path / "none", device=CPU, threads=1)


def test_adapters_that_learn_from_histories_learn_from_those_of_the_refit(cold: Path, trained: Path, tmp_path: Path
                                                                          ) -> None:
    """With a learning rate of 0 the table is the one that the adapter starts from."""
    tables: dict[tuple[str, str], torch.Tensor] = {}
    for adapter in ("cca", "recpca"):
        for refit in ("none", "validation", "all"):
            out = tmp_path / f"{adapter}-{refit}"
            config = TrainConfig(adapter=adapter, refit=refit,
                                 **SMALL | {"width": 8, "epochs": 1, "learning_rate": 0})
            train(cold, out, config, embeddings_path=trained / "embed", device=CPU, threads=1)
            tables[adapter, refit] = load_file(out / "model.safetensors")["adapter.weight"]
        assert not torch.allclose(tables[adapter, "none"], tables[adapter, "validation"], atol=1e-4)
        assert not torch.allclose(tables[adapter, "validation"], tables[adapter, "all"], atol=1e-4)


def test_a_run_from_other_embeddings_gives_no_number_of_epochs(cold: Path, trained: Path, tmp_path: Path) -> None:
    config = TrainConfig(adapter="linear", refit="all", **SMALL)
    dataset, _ = load_dataset(cold)
    np.save(tmp_path / "other.npy", np.random.default_rng(1).normal(size=(dataset.n_items + 5, 12)))
    (tmp_path / "ids.txt").write_text("\n".join(dataset.with_cold_items().item_ids))
    with pytest.raises(TslrecError, match="linear was trained with other item embeddings"):
        train(cold, tmp_path / "run", config, embeddings_path=tmp_path / "other.npy",
              embedding_ids=tmp_path / "ids.txt", refit_from=trained / "linear", device=CPU, threads=1)
    train(cold, tmp_path / "run", config, embeddings_path=trained / "embed", refit_from=trained / "linear", device=CPU,
          threads=1)
    assert load_cold_rows(tmp_path / "run", 5) is not None


def test_max_len_follows_the_histories_and_the_artifact_has_it(cycle: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cycle)
    assert dataset.training().lengths.max() < 50
    for given, out in ((0, "chosen"), (50, "given")):
        train(cycle, tmp_path / out, TrainConfig(**{**SMALL, "epochs": 1, "max_len": given}), device=CPU, threads=1)
    chosen, given = (load_file(tmp_path / out / "model.safetensors") for out in ("chosen", "given"))
    assert open_artifact(tmp_path / "chosen", "train").config["max_len"] == 50
    assert all(torch.equal(chosen[name], given[name]) for name in given)
