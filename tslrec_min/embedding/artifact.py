"""The embed artifact: item embeddings with the ids of their rows, and the check that they fit a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..artifacts import open_artifact
from ..data.dataset import Dataset
from ..errors import TslrecError

_NAMED_IDS = 5


def save_embeddings(folder: Path, vectors: np.ndarray, dataset: Dataset) -> None:
    """Write item_embeddings.npy (float32 [I+1, D], row 0 zeros) and items.txt (ids in row order, from row 1).

    Args:
        folder: where to write.
        vectors: float32 [I, D], one row per item.
        dataset: the catalogue.
    """
    padded = np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors.astype(np.float32)])
    np.save(folder / "item_embeddings.npy", padded)
    (folder / "items.txt").write_text("".join(f"{item}\n" for item in dataset.item_ids), encoding="utf-8")


def load_embeddings(path: Path, dataset: Dataset) -> tuple[np.ndarray, str]:
    """Read item embeddings for a data set.

    Returns:
        float32 [I+1, D] with a zero row 0, and the artifact hash.

    Raises:
        TslrecError: they are missing, damaged, not finite, or of another catalogue (names the ids that differ).
    """
    artifact = open_artifact(path, "embed")
    try:
        ids = (artifact.path / "items.txt").read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise TslrecError(f"{path} has no readable items.txt: {error}; run tslrec embed again") from None
    if ids != list(dataset.item_ids):
        raise TslrecError(f"the embeddings {path} are of another catalogue: {_difference(ids, dataset.item_ids)}; "
                          "run tslrec embed on this data set")
    try:
        vectors = np.load(artifact.path / "item_embeddings.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TslrecError(f"{path} can't be read: {error}; run tslrec embed again") from None
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != dataset.n_items + 1:
        raise TslrecError(f"{path}: the array is {vectors.dtype} {list(vectors.shape)}; expected float32 with "
                          f"{dataset.n_items + 1} rows")
    if not np.isfinite(vectors).all() or vectors[0].any():
        raise TslrecError(f"{path}: a number is not finite, or the padding row 0 is not zero; run tslrec embed again")
    return vectors, artifact.hash


def _difference(ids: list[str], wanted: Sequence[str]) -> str:
    missing, extra = sorted(set(wanted) - set(ids)), sorted(set(ids) - set(wanted))
    if not missing and not extra:
        return "the same ids in another order"
    parts = []
    for name, differing in (("without", missing), ("with unknown", extra)):
        if differing:
            more = f" and {len(differing) - _NAMED_IDS} more" if len(differing) > _NAMED_IDS else ""
            parts.append(f"{name} {', '.join(differing[:_NAMED_IDS])}{more}")
    return f"{len(ids)} items, expected {len(wanted)}; " + ", ".join(parts)
