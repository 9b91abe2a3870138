"""The train artifact: the weights of a recommender, and the table rows of cold items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..config_fields import from_mapping
from ..configs import COUNTING_MODELS, MODELS, TrainConfig
from ..data.dataset import Dataset
from ..errors import TslrecError
from ..item_vectors.load import ItemEmbeddings
from ..storage.arrays import load_array
from ..storage.artifacts import Artifact, open_artifact, refuse_other_dataset
from ..storage.tensors import load_tensors, save_tensors
from .adapters import ADAPTER_CLASSES
from .fusion.artifact import FUSED
from .models import SequentialRecommender, build_recommender

COLD_ROWS = "cold_rows.npy"


def save_recommender(recommender: SequentialRecommender, folder: Path) -> None:
    """Write the weights, model.safetensors."""
    save_tensors(folder / "model.safetensors", recommender.state_dict())


def load_recommender(path: Path | Artifact, dataset_hash: str, device: torch.device) -> SequentialRecommender:
    """Read the recommender of a train artifact, given as a folder or opened.

    Raises:
        TslrecError: it is missing, damaged, or was trained on another data set.
    """
    artifact = open_artifact(path, "train")
    refuse_other_dataset(artifact, dataset_hash)
    if (model := artifact.config.get("model")) in (*COUNTING_MODELS, FUSED):
        what = "the sum of several recommenders" if model == FUSED else model
        raise TslrecError(f"{artifact.path} is {what}, which has no item table; give the run of a trained model "
                          f"({', '.join(MODELS)})")
    config = from_mapping(TrainConfig, artifact.config, str(artifact.path), refuse_unread=False)
    state = load_tensors(artifact.path / "model.safetensors")
    try:
        adapter = ADAPTER_CLASSES[config.adapter].restore(config, {
            name.removeprefix("adapter."): value for name, value in state.items() if name.startswith("adapter.")})
        recommender = build_recommender(adapter, config)
        recommender.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise TslrecError(
            f"{artifact.path}: its weights don't fit its configuration: {error}; run tslrec train again") from None
    return recommender.to(device).eval()


def load_cold_rows(path: Path | Artifact, n_cold: int) -> np.ndarray | None:
    """Read the table rows of the C cold items from a train artifact, float32 [C, d]; None if it has none.

    Raises:
        TslrecError: the artifact is missing or damaged, C is not `n_cold`, or a number is not finite.
    """
    artifact = open_artifact(path, "train")
    if COLD_ROWS not in artifact.record["files"]:
        return None
    rows = load_array(artifact.path / COLD_ROWS)
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != n_cold or not np.isfinite(rows).all():
        raise TslrecError(f"{artifact.path / COLD_ROWS} is {rows.dtype} {list(rows.shape)}; expected finite float32 "
                          f"with {n_cold} rows, one for each cold item; run tslrec train again")
    return rows


def load_item_table(path: Path, dataset: Dataset, dataset_hash: str) -> ItemEmbeddings:
    """Read the item table of a train artifact, without cold items.

    Raises:
        TslrecError: see `load_recommender`.
    """
    recommender = load_recommender(path, dataset_hash, torch.device("cpu"))
    with torch.no_grad():
        return ItemEmbeddings(dataset.item_ids, recommender.item_table().float().numpy())
