"""Trained recommenders as artifacts: the stages ``pretrain`` and ``train``, and loading what they wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..categories.clustering import (
    Clustering,
    chance_share,
    latent_categories,
    neighbour_share,
    preference_distributions,
)
from ..config_fields import from_mapping
from ..configs import PretrainConfig, TrainConfig
from ..data.dataset import Dataset, Evaluation, Histories, load_dataset
from ..errors import TslrecError
from ..item_vectors.align import load_item_vectors
from ..item_vectors.artifact import PREFERENCES, load_embeddings
from ..runtime.progress import step
from ..storage.arrays import load_array, load_arrays
from ..storage.artifacts import Recipe, open_artifact, refuse_other_dataset, write_json
from ..storage.checkpoints import Checkpointing, is_trained, training_artifact
from ..storage.tensors import load_tensors, save_tensors
from .adapters import build_adapter, restore_adapter
from .adapters.controls import controlled
from .models import SequentialRecommender, build_recommender
from .training import train_recommender

_ADAPTER = "adapter."
_COLD_ROWS = "cold_rows.npy"


@dataclass(frozen=True)
class Categories:
    """The latent categories of a pretrain artifact."""

    labels: np.ndarray
    """int64 [I+1], 0..K-1; -1 for padding."""
    centroids: np.ndarray
    """float64 [K, d]."""

    @property
    def n_categories(self) -> int:
        """Number of latent categories K."""
        return len(self.centroids)


def pretrain(dataset_path: Path, out: Path, config: PretrainConfig, *, device: torch.device, threads: int,
             existing: str = "refuse") -> None:
    """Train an ID-only recommender and cluster its item table into latent categories.

    Nothing here depends on a validation or test item: early stopping looks at the last item of every *training*
    history, which the recommender does not learn from.

    Args:
        dataset_path: data set artifact.
        out: folder of the artifact.
        config: training and clustering settings; the adapter must be ``none``.
        device: where to train.
        threads: kernel threads.
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.

    Raises:
        TslrecError: see `train_recommender` and `k_means`.
    """
    if config.adapter != "none":
        raise TslrecError(f"pretraining uses item ids only; got --adapter {config.adapter}")
    dataset, dataset_hash = load_dataset(dataset_path)
    recipe = Recipe("pretrain", asdict(config), {"dataset": dataset_hash}, config.seed)
    if existing == "reuse" and is_trained(out, recipe):
        return
    with training_artifact(out, recipe, existing) as (folder, checkpointing):
        validation = dataset.within_training()
        recommender, metrics = trained(dataset.n_items, validation.histories, validation, config, None, device,
                                       threads, "pretrain", checkpointing)
        table = recommender.item_table().detach().float().cpu().numpy()
        step(f"clusters the items into {config.categories} latent categories")
        # Only items that the recommender learned from take part in the fit.
        solution = latent_categories(table, validation.histories, config.categories, restarts=config.kmeans_restarts,
                                     seed=config.seed)
        np.savez(folder / "categories.npz", labels=solution.labels, centroids=solution.centroids)
        _save_weights(recommender, folder)
        write_json(folder / "metrics.json", metrics | {"categories": _describe(solution, dataset)})


def train(dataset_path: Path, out: Path, config: TrainConfig, *, embeddings_path: Path | None = None,
          embedding_ids: Path | None = None, ignore_unknown: bool = False, device: torch.device, threads: int,
          existing: str = "refuse", label: str = "train") -> None:
    """Train a recommender with item embeddings through an adapter, or without.

    If the data set has cold items and the adapter can project what it has not learned from, the artifact gets
    cold_rows.npy: the table rows of the cold items under the best weights.

    Args:
        dataset_path: data set artifact.
        out: folder of the artifact.
        config: adapter and training settings.
        embeddings_path: embed artifact of the same catalogue, or a file of vectors; None for the adapter ``none``.
        embedding_ids, ignore_unknown: of a file, see `vectors.load_item_vectors`.
        device: where to train.
        threads: kernel threads.
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.
        label: text of the progress bar; empty: none is shown.

    Raises:
        TslrecError: the embeddings are of another catalogue, or see `train_recommender`.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    inputs, embeddings, cold = {"dataset": dataset_hash}, None, None
    if embeddings_path is not None:
        vectors, hashes = load_item_vectors(embeddings_path, dataset, ids_path=embedding_ids,
                                            ignore_unknown=ignore_unknown, kind=config.vectors)
        inputs |= hashes
        embeddings, cold = vectors[:dataset.n_items + 1], vectors[dataset.n_items + 1:]
    recipe = Recipe("train", asdict(config), inputs, config.seed)
    if existing == "reuse" and is_trained(out, recipe):
        return
    with training_artifact(out, recipe, existing) as (folder, checkpointing):
        recommender, metrics = trained(dataset.n_items, dataset.training(), dataset.evaluation("validation"), config,
                                       embeddings, device, threads, label, checkpointing)
        _save_weights(recommender, folder)
        if cold is not None and len(cold) and hasattr(recommender.adapter, "project"):
            stand_ins = controlled(np.concatenate([vectors[:1], cold]), config.control, config.seed + 1)[1:]
            np.save(folder / _COLD_ROWS, projected_rows(recommender, stand_ins))  # + 1: drawn apart from the others
        write_json(folder / "metrics.json", metrics)


@torch.no_grad()
def projected_rows(recommender: SequentialRecommender, embeddings: np.ndarray) -> np.ndarray:
    """Make table rows of items that were not learned from, for an adapter that has ``project``.

    Args:
        recommender: with the weights to use.
        embeddings: float32 [n, D].

    Returns:
        float32 [n, d].
    """
    recommender.eval()
    given = torch.from_numpy(embeddings).to(next(recommender.parameters()).device)
    rows: torch.Tensor = recommender.adapter.project(given)  # type: ignore[operator]
    return rows.float().cpu().numpy()


def trained(n_items: int, training: Histories, validation: Evaluation, config: TrainConfig,
            embeddings: np.ndarray | None, device: torch.device, threads: int, label: str = "train",
            checkpointing: Checkpointing | None = None) -> tuple[SequentialRecommender, dict[str, Any]]:
    """Build a recommender and train it, in memory.

    Args:
        n_items: I.
        training, validation, device, threads, label, checkpointing: see `train_recommender`.
        config: model, adapter and training settings.
        embeddings: float32 [I+1, D] for the adapter, row 0 zeros; None for the adapter ``none``. The control
            that `config` names takes their place.

    Returns:
        The recommender with its best weights, and the contents of metrics.json.

    Raises:
        TslrecError: see `train_recommender`.
    """
    torch.manual_seed(config.seed)
    if embeddings is not None:
        embeddings = controlled(embeddings, config.control, config.seed)
    step(f"builds {config.model} with the adapter {config.adapter}")
    adapter = build_adapter(config, n_items, embeddings, training)
    recommender = build_recommender(adapter, config)
    log = train_recommender(recommender, training, validation, config, device=device, threads=threads,
                            label=label, checkpointing=checkpointing)
    return recommender, log.as_json()


def _save_weights(recommender: SequentialRecommender, folder: Path) -> None:
    save_tensors(folder / "model.safetensors", recommender.state_dict())


def _describe(solution: Clustering, dataset: Dataset) -> dict[str, Any]:
    """Say how large the categories are and how far the users' preferences are from uniform."""
    sizes = np.bincount(solution.labels[1:], minlength=len(solution.centroids))
    preferences = preference_distributions(dataset.training(), solution.labels, len(sizes))
    entropy = -(preferences * np.log(np.maximum(preferences, 1e-12))).sum(axis=1)
    return {"sizes": sizes.tolist(), "inertia": solution.inertia, "mean_preference_entropy": float(entropy.mean()),
            "uniform_entropy": float(np.log(len(sizes)))}


def load_categories(path: Path, dataset: Dataset, dataset_hash: str) -> tuple[Categories, str]:
    """Read the latent categories of a pretrain artifact and its hash.

    Raises:
        TslrecError: it is missing, damaged, or of another data set.
    """
    artifact = open_artifact(path, "pretrain")
    refuse_other_dataset(artifact, dataset_hash)
    arrays = load_arrays(artifact.path / "categories.npz", ("labels", "centroids"))
    categories = Categories(arrays["labels"], arrays["centroids"])
    labels = categories.labels
    if labels.shape != (dataset.n_items + 1,) or labels.dtype != np.int64 or categories.centroids.ndim != 2 or (
            labels[1:].min() < 0 or labels.max() >= categories.n_categories):
        raise TslrecError(f"{path} has no category for each of {dataset.n_items} items; run tslrec pretrain again")
    return categories, artifact.hash


def category_neighbours(dataset_path: Path, pretrain_path: Path, embeddings_path: Path) -> dict[str, float]:
    """Say how much of the latent categories item embeddings know.

    Returns:
        ``share`` of an item's 10 nearest neighbours by cosine that are of its category, by its states, and what it is
        by ``chance``; of a fine-tuned model's embeddings also the share by its ``preferences``.

    Raises:
        TslrecError: an artifact is missing, damaged, or of another data set.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    labels = load_categories(pretrain_path, dataset, dataset_hash)[0].labels
    found = {"share": neighbour_share(load_embeddings(embeddings_path, dataset)[0], labels),
             "chance": chance_share(labels)}
    if (embeddings_path / PREFERENCES).is_file():
        found["preferences"] = neighbour_share(load_embeddings(embeddings_path, dataset, "preferences")[0], labels)
    return found


def load_recommender(path: Path, dataset_hash: str, device: torch.device) -> SequentialRecommender:
    """Read a train artifact.

    Raises:
        TslrecError: it is missing, damaged, or was trained on another data set.
    """
    artifact = open_artifact(path, "train")
    refuse_other_dataset(artifact, dataset_hash)
    config = from_mapping(TrainConfig, artifact.config, str(path))
    state = load_tensors(artifact.path / "model.safetensors")
    try:
        adapter = restore_adapter(config, {name.removeprefix(_ADAPTER): value for name, value in state.items()
                                           if name.startswith(_ADAPTER)})
        recommender = build_recommender(adapter, config)
        recommender.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise TslrecError(f"{path}: its weights don't fit its configuration: {error}; run tslrec train again") from None
    return recommender.to(device).eval()


def load_cold_rows(path: Path, n_cold: int) -> np.ndarray | None:
    """Read the table rows of the cold items from a train artifact, float32 [C, d]; None if its adapter makes none.

    Raises:
        TslrecError: the artifact is missing or damaged, or the rows are not of `n_cold` items, C, or not finite.
    """
    artifact = open_artifact(path, "train")
    if _COLD_ROWS not in artifact.record["files"]:
        return None
    rows = load_array(artifact.path / _COLD_ROWS)
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != n_cold or not np.isfinite(rows).all():
        raise TslrecError(f"{path / _COLD_ROWS} is {rows.dtype} {list(rows.shape)}; expected finite float32 with "
                          f"{n_cold} rows, one for each cold item; run tslrec train again")
    return rows
