"""What several test files build or ask alike."""

from __future__ import annotations

import numpy as np
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Histories
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.adapters.base import Adapter

N_ITEMS, WIDTH = 30, 8


def make_embeddings(n_items: int = N_ITEMS, seed: int = 0) -> np.ndarray:
    """Vectors that point the same way, with a falling spectrum, as those of language models."""
    random = np.random.default_rng(seed)
    vectors = 3 + random.normal(size=(n_items + 1, 20)) * np.geomspace(2, 0.1, 20)
    vectors[0] = 0
    return vectors.astype(np.float32)


def random_histories(seed: int = 0) -> Histories:
    """Forty histories of six items."""
    items = np.random.default_rng(seed).integers(1, N_ITEMS + 1, 240).astype(np.int32)
    return Histories(np.arange(0, 241, 6), items)


def make_adapter(name: str, embeddings: np.ndarray | None = None, **settings) -> Adapter:
    """Build an adapter from `make_embeddings`, or others, with seed 0."""
    if embeddings is None and name != "none":
        embeddings = make_embeddings()
    torch.manual_seed(0)
    return build_adapter(TrainConfig(adapter=name, width=WIDTH, **settings), N_ITEMS, embeddings, random_histories())
