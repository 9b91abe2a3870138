"""The stage ``pretrain``: an ID-only recommender, and k-means on its item table (TSLRec, arXiv 2406.00333, stage 0)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configs import PretrainConfig
from ..data.dataset import Dataset, load_dataset
from ..recommenders.artifact import save_recommender
from ..recommenders.batching import with_max_len
from ..recommenders.training import trained
from ..runtime.progress import step
from ..storage.artifacts import Recipe, write_json
from ..storage.checkpoints import is_trained, training_artifact
from ..storage.existing import Existing
from .clustering import Clustering, latent_categories, preference_distributions


def pretrain(dataset_path: Path, out: Path, config: PretrainConfig, *, device: torch.device, threads: int,
             existing: Existing = Existing.REFUSE) -> None:
    """Train an ID-only recommender and cluster its item table into latent categories.

    The result depends on no validation or test item: early stopping uses the last item of every *training* history,
    which is held out from training.

    Args:
        dataset_path: data set artifact.
        out: folder of the artifact.
        config: training and clustering settings.
        device, threads: see `trained`.
        existing: what to do with an artifact at `out`.

    Raises:
        TslrecError: see `trained` and `k_means`.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    config = with_max_len(config, dataset.training().lengths)
    recipe = Recipe("pretrain", asdict(config), {"dataset": dataset_hash}, config.seed)
    if is_trained(out, recipe, existing):
        return
    with training_artifact(out, recipe, existing) as (folder, checkpointing):
        validation = dataset.within_training()
        recommender, metrics = trained(dataset.n_items, validation.histories, validation, config.training, None,
                                       device, threads, "pretrain", checkpointing)
        table = recommender.item_table().detach().float().cpu().numpy()
        step(f"clustering the items into {config.categories} latent categories")
        solution = latent_categories(table, validation.histories, config.categories, restarts=config.kmeans_restarts,
                                     seed=config.seed)
        np.savez(folder / "categories.npz", labels=solution.labels, centroids=solution.centroids)
        save_recommender(recommender, folder)
        write_json(folder / "metrics.json", metrics | {"categories": _describe(solution, dataset)})


def _describe(solution: Clustering, dataset: Dataset) -> dict[str, Any]:
    """Return the sizes of the categories, and how far the users' preferences are from uniform."""
    sizes = np.bincount(solution.labels[1:], minlength=len(solution.centroids))
    preferences = preference_distributions(dataset.training(), solution.labels, len(sizes))
    entropy = -(preferences * np.log(np.maximum(preferences, 1e-12))).sum(axis=1)
    return {"sizes": sizes.tolist(), "inertia": solution.inertia, "mean_preference_entropy": float(entropy.mean()),
            "uniform_entropy": float(np.log(len(sizes)))}
