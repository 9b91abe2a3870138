"""The stage ``train``: a recommender with item embeddings through an adapter, or without."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ..configs import COUNTING_MODELS, TrainConfig
from ..data.dataset import load_dataset
from ..errors import TslrecError
from ..item_vectors.load import load_item_embeddings
from ..runtime import distributed
from ..runtime.progress import step
from ..storage.artifacts import Recipe, write_artifact, write_json
from ..storage.checkpoints import is_trained, training_artifact
from ..storage.existing import Existing
from .adapters.controls import controlled
from .artifact import COLD_ROWS, save_recommender
from .counting.artifact import counted, save_counting
from .counting.base import Knowledge
from .models import SequentialRecommender
from .training import trained


def train(dataset_path: Path, out: Path, config: TrainConfig, *, embeddings_path: Path | None = None,
          embedding_ids: Path | None = None, ignore_unknown: bool = False, device: torch.device, threads: int,
          existing: Existing = Existing.REFUSE, label: str = "train") -> None:
    """Train a recommender with item embeddings through an adapter, or without.

    If the data set has cold items and the adapter can project new items, the artifact gets cold_rows.npy: the table
    rows of the cold items under the best weights.

    Args:
        dataset_path: data set artifact.
        out: folder of the artifact.
        config: adapter and training settings.
        embeddings_path: embed artifact of the same catalogue, or a file of vectors; None for the adapter ``none``.
        embedding_ids, ignore_unknown: of a file, see `load_item_embeddings`.
        device, threads, label: see `trained`.
        existing: what to do with an artifact at `out`.

    Raises:
        TslrecError: the embeddings are of another catalogue, or see `trained`.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    embeddings = None if embeddings_path is None else load_item_embeddings(
        embeddings_path, dataset, config.vectors, ids_path=embedding_ids, ignore_unknown=ignore_unknown)
    inputs = {"dataset": dataset_hash, **(embeddings.hashes if embeddings else {})}
    if embeddings is None and config.model == "content":
        raise TslrecError("--model content compares item embeddings; give them with --embeddings")
    recipe = Recipe("train", asdict(config), inputs, config.seed)
    if is_trained(out, recipe, existing):
        return
    if config.model in COUNTING_MODELS:
        with write_artifact(out, recipe, overwrite=existing.overwrites, keep=distributed.rank() == 0) as folder:
            step(f"{label or 'training'}: counting, and choosing the constants of {config.model}")
            scorer, metrics = counted(config.model, Knowledge(
                dataset.training(), dataset.n_items, dataset.cold.n_items if dataset.cold else 0,
                dataset.evaluation("validation"), embeddings, threads))
            save_counting(scorer, folder)
            write_json(folder / "metrics.json", metrics)
        return
    with training_artifact(out, recipe, existing) as (folder, checkpointing):
        recommender, metrics = trained(dataset.n_items, dataset.training(), dataset.evaluation("validation"), config,
                                       embeddings.known if embeddings else None, device, threads, label, checkpointing)
        save_recommender(recommender, folder)
        if embeddings and embeddings.n_cold:
            with_padding = np.concatenate([embeddings.rows[:1], embeddings.cold])
            stand_ins = controlled(with_padding, config.control, config.seed + 1)[1:]  # + 1: other draws than above
            if (rows := projected_rows(recommender, stand_ins)) is not None:
                np.save(folder / COLD_ROWS, rows)
        write_json(folder / "metrics.json", metrics)


@torch.no_grad()
def projected_rows(recommender: SequentialRecommender, embeddings: np.ndarray) -> np.ndarray | None:
    """Make the table rows, float32 [n, d], of new items from their embeddings, float32 [n, D], if the adapter can."""
    recommender.eval()
    given = torch.from_numpy(embeddings).to(next(recommender.parameters()).device)
    rows = recommender.adapter.project(given)
    return None if rows is None else rows.float().cpu().numpy()
