"""The pretrain artifact: the latent categories of a data set's items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..errors import TslrecError
from ..storage.arrays import load_arrays
from ..storage.artifacts import open_artifact, refuse_other_dataset


@dataclass(frozen=True)
class Categories:
    """Latent categories of items."""

    labels: np.ndarray
    """int64 [I+1], 0..K-1; -1 for padding."""
    centroids: np.ndarray
    """float64 [K, d]."""

    @property
    def n_categories(self) -> int:
        """Number of latent categories K."""
        return len(self.centroids)


def load_categories(path: Path, dataset: Dataset, dataset_hash: str) -> tuple[Categories, str]:
    """Read the latent categories of a pretrain artifact, and its hash.

    Raises:
        TslrecError: it is missing, damaged, or of another data set.
    """
    artifact = open_artifact(path, "pretrain")
    refuse_other_dataset(artifact, dataset_hash)
    arrays = load_arrays(artifact.path / "categories.npz", ("labels", "centroids"))
    categories = Categories(arrays["labels"], arrays["centroids"])
    labels = categories.labels
    if (labels.shape != (dataset.n_items + 1,) or labels.dtype != np.int64 or categories.centroids.ndim != 2
            or labels[1:].min() < 0 or labels.max() >= categories.n_categories):
        raise TslrecError(f"{path} has no category for each of {dataset.n_items} items; run tslrec pretrain again")
    return categories, artifact.hash
