"""How well item embeddings reflect the latent categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..categories.artifact import load_categories
from ..data.dataset import load_dataset
from ..item_vectors.artifact import PREFERENCES
from ..item_vectors.load import load_item_embeddings

_NEIGHBOURS = 10
_BLOCK = 512
"""Items whose neighbours are computed at once."""


def neighbour_share(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of an item's 10 nearest others by cosine (or all others) in its category, mean over items.

    `chance_share` is its value for random embeddings. `ranking.neighbours.nearest` is not used: it scales, rounds and
    breaks ties differently, so shares would change.

    Args:
        embeddings: float [I+1, D], row 0 padding.
        labels: int64 [I+1], category of every item.
    """
    items = embeddings[1:] / np.maximum(np.linalg.norm(embeddings[1:], axis=1, keepdims=True), 1e-12)
    categories, count = labels[1:], min(_NEIGHBOURS, len(embeddings) - 2)
    same = 0
    for start in range(0, len(items), _BLOCK):
        cosines = items[start:start + _BLOCK] @ items.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        same += int((categories[near] == categories[start + rows, None]).sum())
    return same / (count * len(items))


def chance_share(labels: np.ndarray) -> float:
    """Return the probability that another random item has an item's category; labels int64 [I+1]."""
    sizes = np.bincount(labels[1:]).astype(np.float64)
    return float((sizes * (sizes - 1)).sum() / (sizes.sum() * (sizes.sum() - 1)))


def category_neighbours(dataset_path: Path, pretrain_path: Path, embeddings_path: Path) -> dict[str, float]:
    """Return how well the item embeddings of an embed artifact reflect the latent categories of a pretrain artifact.

    Returns:
        ``share``: the `neighbour_share` of the hidden states, and its value by ``chance``; with a fine-tuned model also
        that of its ``preferences``.

    Raises:
        TslrecError: an artifact is missing, damaged, or of another data set.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    labels = load_categories(pretrain_path, dataset, dataset_hash)[0].labels
    shares = {"share": neighbour_share(load_item_embeddings(embeddings_path, dataset).known, labels),
              "chance": chance_share(labels)}
    if (embeddings_path / PREFERENCES).is_file():
        preferences = load_item_embeddings(embeddings_path, dataset, "preferences").known
        shares["preferences"] = neighbour_share(preferences, labels)
    return shares
