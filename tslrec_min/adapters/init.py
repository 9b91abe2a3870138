"""``init``: PCA of the item embeddings, row-normalised, as the trainable starting table.

LLM2BERT4Rec (Harte et al., RecSys 2023, arXiv 2309.09261). The PCA is fitted in float64 on the catalogue
without the padding row; each component's sign makes its largest entry positive.
"""

from __future__ import annotations

import numpy as np
import torch

from ..errors import TslrecError
from .none import TrainableTable


def principal_components(embeddings: np.ndarray, width: int) -> np.ndarray:
    """Project the items on their first principal components.

    Args:
        embeddings: float [I+1, D], row 0 is padding and takes no part.
        width: number of components d <= min(I, D).

    Returns:
        float64 [I, d].

    Raises:
        TslrecError: there are fewer than `width` components.
    """
    items = embeddings[1:].astype(np.float64)
    if width > min(items.shape):
        raise TslrecError(f"--width {width} is more than the {min(items.shape)} principal components of "
                          f"{items.shape[0]} item embeddings of {items.shape[1]} numbers; lower it")
    centred = items - items.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, ::-1][:, :width]  # largest variance first
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(width)]
    return centred @ (directions * np.sign(largest))


def initialised_table(embeddings: np.ndarray, width: int) -> TrainableTable:
    """Return a trainable table that starts at the row-normalised PCA of the embeddings, float [I+1, D]."""
    table = principal_components(embeddings, width)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    # A random table's rows start with norms of about 0.02 sqrt(d); so do these.
    table = table / np.maximum(norms, 1e-12) * (0.02 * np.sqrt(width))
    return TrainableTable(torch.from_numpy(table.astype(np.float32)))
