"""The stage ``train``: a recommender with item embeddings through an adapter, or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config_fields import from_mapping
from ..configs import CONTENT_MODELS, COUNTING_MODELS, TrainConfig
from ..data.dataset import Dataset, Histories, load_dataset
from ..errors import TslrecError
from ..item_vectors.load import ItemEmbeddings, load_item_embeddings
from ..runtime import distributed
from ..runtime.progress import step
from ..storage.artifacts import (
    Recipe,
    open_artifact,
    read_json,
    refuse_other_dataset,
    write_artifact,
    write_json,
)
from ..storage.checkpoints import Checkpointing, is_trained, training_artifact
from ..storage.existing import Existing
from .adapters.controls import controlled
from .artifact import COLD_ROWS, save_recommender
from .batching import with_max_len
from .counting.artifact import counted, save_counting
from .counting.base import Knowledge
from .models import SequentialRecommender
from .training import refitted, trained


def train(dataset_path: Path, out: Path, config: TrainConfig, *, embeddings_path: Path | None = None,
          embedding_ids: Path | None = None, ignore_unknown: bool = False, refit_from: Path | None = None,
          device: torch.device, threads: int, existing: Existing = Existing.REFUSE, label: str = "train") -> None:
    """Train a recommender with item embeddings through an adapter, or without.

    With `config.refit` the first training, stopped early, only finds the number of epochs; the second one, from
    scratch on more items, gives the weights. Both are resumed after an interruption.

    If the data set has cold items and the adapter can project new items, the artifact gets cold_rows.npy: the table
    rows of the cold items under the best weights.

    Args:
        dataset_path: data set artifact.
        out: folder of the artifact.
        config: adapter and training settings.
        embeddings_path: embed artifact of the same catalogue, or a file of vectors; None for the adapter ``none``.
        embedding_ids, ignore_unknown: of a file, see `load_item_embeddings`.
        refit_from: train artifact of the same data, embeddings and configuration but for `refit`; its best epoch is
            used in place of a first training.
        device, threads, label: see `trained`.
        existing: what to do with an artifact at `out`.

    Raises:
        TslrecError: the embeddings are of another catalogue, `refit_from` differs, or see `trained`.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    embeddings = None if embeddings_path is None else load_item_embeddings(
        embeddings_path, dataset, config.vectors, ids_path=embedding_ids, ignore_unknown=ignore_unknown)
    inputs = {"dataset": dataset_hash, **(embeddings.hashes if embeddings else {})}
    config = with_max_len(config, dataset.training().lengths)
    if embeddings is None and config.model in CONTENT_MODELS:
        raise TslrecError(f"--model {config.model} compares item embeddings; give them with --embeddings")
    first = None
    if refit_from is not None and config.model in COUNTING_MODELS:
        raise TslrecError(f"--refit-from {refit_from} saves a first training; --model {config.model} needs none: "
                          "leave --refit-from out")
    if refit_from is not None:
        first, inputs["refit_from"] = _first_training(refit_from, config, inputs)
    recipe = Recipe("train", asdict(config), inputs, config.seed)
    if is_trained(out, recipe, existing):
        return
    if config.model in COUNTING_MODELS:
        _count(dataset, config, embeddings, out, recipe, threads, existing)
        return
    with training_artifact(out, recipe, existing) as (folder, checkpointing):
        recommender, metrics = _trained(dataset, config, embeddings.known if embeddings else None, first, device,
                                        threads, label, checkpointing)
        save_recommender(recommender, folder)
        if embeddings and embeddings.n_cold:
            with_padding = np.concatenate([embeddings.rows[:1], embeddings.cold])
            stand_ins = controlled(with_padding, config.control, config.seed + 1)[1:]  # + 1: other draws than above
            if (rows := projected_rows(recommender, stand_ins)) is not None:
                np.save(folder / COLD_ROWS, rows)
        write_json(folder / "metrics.json", metrics)


def _count(dataset: Dataset, config: TrainConfig, embeddings: ItemEmbeddings | None, out: Path, recipe: Recipe,
           threads: int, existing: Existing) -> None:
    """Write a recommender without training; under torchrun every process makes the whole of it, and one writes."""
    known = Knowledge.of(dataset, embeddings, threads)
    with write_artifact(out, recipe, overwrite=existing.overwrites, keep=distributed.rank() == 0) as folder:
        distributed.wait_for_all()  # until all processes have checked `out`
        step(f"{out}: choosing the constants of {config.model}")
        scorer, metrics = counted(config.model, known, None if config.refit == "none" else _known(dataset, config))
        save_counting(scorer, folder)
        write_json(folder / "metrics.json", metrics)
    distributed.wait_for_all()


def _known(dataset: Dataset, config: TrainConfig) -> Histories:
    """Return the histories of a refit."""
    return dataset.histories if config.refit == "all" else dataset.before("test")


def _trained(dataset: Dataset, config: TrainConfig, embeddings: np.ndarray | None, first: dict[str, Any] | None,
             device: torch.device, threads: int, label: str, checkpointing: Checkpointing
             ) -> tuple[SequentialRecommender, dict[str, Any]]:
    """Train, and refit if that is configured; return the recommender and the contents of metrics.json.

    Arguments are as for `trained`, but `first`: the figures of a first training that need not be repeated.
    """
    if first is None:
        recommender, first = trained(dataset.n_items, dataset.training(), dataset.evaluation("validation"), config,
                                     embeddings, device, threads, label, checkpointing)
        if config.refit == "none":
            return recommender, first
    epochs = first["best_epoch"]
    recommender, losses = refitted(dataset.n_items, _known(dataset, config), config, embeddings, epochs, device,
                                   threads, f"{label}, refit" if label else "", checkpointing.for_second(epochs))
    return recommender, first | {"refit": config.refit, "refit_epochs": epochs, "refit_losses": losses}


def _first_training(path: Path, config: TrainConfig, inputs: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Return the figures of the first training from the artifact of another run, and its hash.

    Raises:
        TslrecError: there is no refit to use it for, or the run differs in more than its refit.
    """
    if config.refit == "none":
        raise TslrecError(f"--refit-from {path} is only used with --refit validation or all; got --refit none")
    artifact = open_artifact(path, "train")
    refuse_other_dataset(artifact, inputs["dataset"])
    theirs = from_mapping(TrainConfig, artifact.config, str(path), refuse_unread=False)
    different = [f"{name} {value!r}, here {getattr(config, name)!r}" for name, value in asdict(theirs).items()
                 if name != "refit" and value != getattr(config, name)]
    if different:
        raise TslrecError(f"--refit-from {path} has other settings: {', '.join(different)}; give the same ones, or "
                          "leave --refit-from out")
    if {name: value for name, value in artifact.record["inputs"].items() if name != "refit_from"} != inputs:
        raise TslrecError(f"--refit-from {path} was trained with other item embeddings; give those, or leave "
                          "--refit-from out")
    metrics = read_json(path / "metrics.json")
    return {name: value for name, value in metrics.items() if not name.startswith("refit")}, artifact.hash


@torch.no_grad()
def projected_rows(recommender: SequentialRecommender, embeddings: np.ndarray) -> np.ndarray | None:
    """Make the table rows, float32 [n, d], of new items from their embeddings, float32 [n, D], if the adapter can."""
    recommender.eval()
    given = torch.from_numpy(embeddings).to(next(recommender.parameters()).device)
    rows = recommender.adapter.project(given)
    return None if rows is None else rows.float().cpu().numpy()
