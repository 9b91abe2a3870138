"""The train artifact of a recommender without training: counts.npz and constants.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...configs import CONTENT_MODELS
from ...data.dataset import Histories
from ...errors import TslrecError
from ...storage.arrays import load_arrays
from ...storage.artifacts import read_json, write_json
from .base import CountingScorer, Knowledge
from .content import Content
from .content_cca import ContentCCA
from .itemknn import ItemKNN
from .popularity import Popularity
from .transitions import Transitions

CLASSES: dict[str, type[CountingScorer]] = {"popularity": Popularity, "itemknn": ItemKNN, "transitions": Transitions,
                                            "content": Content, "content-cca": ContentCCA}
_ARRAYS, _CONSTANTS = "counts.npz", "constants.json"


def save_counting(scorer: CountingScorer, folder: Path) -> None:
    """Write arrays and constants."""
    np.savez(folder / _ARRAYS, **scorer.arrays())  # type: ignore[arg-type]
    write_json(folder / _CONSTANTS, scorer.constants)


def load_counting(folder: Path, model: str) -> CountingScorer:
    """Read what `save_counting` wrote.

    Raises:
        TslrecError: it is missing or damaged.
    """
    arrays, constants = load_arrays(folder / _ARRAYS, ()), read_json(folder / _CONSTANTS)
    try:
        return CLASSES[model].restore(arrays, constants)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise TslrecError(f"{folder}: {_ARRAYS} does not fit {model} ({type(error).__name__}: {error}); run tslrec "
                          "train again") from None


def counted(model: str, known: Knowledge, refit: Histories | None = None) -> tuple[CountingScorer, dict[str, Any]]:
    """Make a recommender without training, and the contents of metrics.json.

    Args:
        model: one of `CLASSES`.
        known: what it is made from.
        refit: histories to count in once the constants are chosen; None: the training histories.

    Raises:
        TslrecError: there is nothing to count or no target to choose constants by, or item embeddings are missing or
            not read.
    """
    if known.embeddings is not None and model not in CONTENT_MODELS:
        raise TslrecError(f"--model {model} reads no item embeddings; leave --embeddings out, or give --model content")
    if not len(known.validation.users) or not len(known.training.items):
        raise TslrecError("there is nothing to count, or no target to choose constants by; prepare more interactions")
    scorer, score = CLASSES[model].fit(known)
    if refit is not None:
        scorer = CLASSES[model].maker(replace(known, training=refit))(scorer.constants)
    return scorer, {"constants": scorer.constants, "validation_ndcg@10": score}
