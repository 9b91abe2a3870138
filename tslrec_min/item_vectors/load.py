"""Item embeddings from an embed artifact or a file of vectors, in the order of a data set's items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..data.item_table import load_lines
from ..errors import TslrecError, some_of
from ..runtime.progress import note
from ..storage.arrays import load_array
from ..storage.artifacts import open_artifact, sha256_of_file
from .artifact import ITEMS, PREFERENCES, PROJECTED, STATES
from .formats import read_vectors


@dataclass(frozen=True)
class ItemEmbeddings:
    """Embeddings of a data set's items."""

    ids: Sequence[str]
    """External ids, [I+C]; ``ids[i - 1]`` is item i; the C cold items are the last."""
    rows: np.ndarray
    """float32 [I+C+1, D]; row i is item i, row 0 is padding."""
    n_cold: int = 0
    """C; also 0 if cold items have no rows."""
    compared: bool = False
    """Whether the vectors were learned so that their cosines foretell next items: `content` takes them as they are."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Inputs of a recipe: the hash of the artifact, or of the file and the file of its ids."""

    @property
    def known(self) -> np.ndarray:
        """Rows that training may use, those of padding and the items that aren't cold, float32 [I+1, D]."""
        return self.rows[:len(self.rows) - self.n_cold]

    @property
    def cold(self) -> np.ndarray:
        """Rows of the cold items, float32 [C, D]."""
        return self.rows[len(self.rows) - self.n_cold:]


def load_item_embeddings(path: Path, dataset: Dataset, kind: str = "states", *, ids_path: Path | None = None,
                         ignore_unknown: bool = False) -> ItemEmbeddings:
    """Read item embeddings for a data set: an embed artifact, or a file in one of the formats of `formats`.

    A file must have every item of the data set, cold ones included, once and with finite numbers; its rows may be in
    any order.

    Args:
        path: folder or file.
        dataset: the items.
        kind: which of an artifact's embeddings, one of `configs.VECTORS`; ``auto`` or ``states`` for a file. ``auto``:
            projected vectors if there are any, else states and preferences, or states alone.
        ids_path: the ids of an .npy file, see `formats.read_vectors`.
        ignore_unknown: leave out a file's items that are not in the data set, and note their number.

    Raises:
        TslrecError: they can't be read or don't fit the data set; names the items that differ.
    """
    everything = dataset.with_cold_items()
    if path.is_dir():
        refuse_file_options(path, ids_path, ignore_unknown)
        artifact = open_artifact(path, "embed")
        if kind == "auto" and (artifact.path / PROJECTED).is_file():
            kind = "projected"
        rows = _rows_of_artifact(artifact.path, everything, dataset.n_items, kind)
        hashes = {"embeddings": artifact.hash}
    else:
        if kind not in ("auto", "states"):
            raise TslrecError(f"{path} is a file of vectors; --vectors {kind} is for folders of tslrec embed")
        ids, vectors = read_vectors(path, ids_path)
        rows = _aligned(path, ids, vectors, everything.item_ids, ignore_unknown)
        files = {"embeddings": path} | ({} if ids_path is None else {"embedding_ids": ids_path})
        hashes = {name: sha256_of_file(file) for name, file in files.items()}
    return ItemEmbeddings(everything.item_ids, rows, everything.n_items - dataset.n_items, kind == "projected", hashes)


def refuse_file_options(path: Path, ids_path: Path | None, ignore_unknown: bool) -> None:
    """Raise TslrecError if an artifact is given with options for files of vectors."""
    if ids_path is not None or ignore_unknown:
        raise TslrecError(f"{path} is a folder; --embedding-ids and --ignore-unknown-items are for files of vectors")


def _rows_of_artifact(path: Path, dataset: Dataset, n_known: int, kind: str) -> np.ndarray:
    """Return the rows of an embed artifact, float32 [I+C+1, D], given `Dataset.with_cold_items`."""
    try:
        ids = load_lines(path / ITEMS)
    except (OSError, UnicodeDecodeError) as error:
        raise TslrecError(f"{path} has no readable {ITEMS}: {error}; run tslrec embed again") from None
    if ids != list(dataset.item_ids):
        raise TslrecError(f"the embeddings {path} are for other items: {_difference(ids, dataset.item_ids)}; run "
                          "tslrec embed on this data set")
    if kind == "projected":
        if not (path / PROJECTED).is_file():
            raise TslrecError(f"{path} has no projected vectors, which need a model tuned on next items (tslrec "
                              "finetune --objective residual or two-level); use --vectors states")
        return _checked(path / PROJECTED, dataset)
    if not (path / PREFERENCES).is_file():
        if kind not in ("auto", "states"):
            raise TslrecError(f"{path} has only states, as preferences need a fine-tuned model (tslrec embed "
                              "--finetuned); use --vectors states")
        kind = "states"
    return of_kind(kind, lambda: _checked(path / STATES, dataset), lambda: _checked(path / PREFERENCES, dataset),
                   n_known)


def _difference(ids: Sequence[str], wanted: Sequence[str]) -> str:
    missing, extra = sorted(set(wanted) - set(ids)), sorted(set(ids) - set(wanted))
    if not missing and not extra:
        return "the same ids in another order"
    parts = [f"{name} {some_of(differing)}" for name, differing in (("without", missing), ("with unknown", extra))
             if differing]
    return f"{len(ids)} items, expected {len(wanted)}; " + ", ".join(parts)


def _checked(path: Path, dataset: Dataset) -> np.ndarray:
    """Read an array of an embed artifact: a row of zeros and one row per item."""
    rows = load_array(path)
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != dataset.n_items + 1:
        raise TslrecError(f"{path}: the array is {rows.dtype} {list(rows.shape)}; expected float32 with "
                          f"{dataset.n_items + 1} rows")
    if not np.isfinite(rows).all() or rows[0].any():
        raise TslrecError(f"{path}: a number is not finite, or the padding row 0 is not zero; run tslrec embed again")
    return rows


def of_kind(kind: str, states: Callable[[], np.ndarray], preferences: Callable[[], np.ndarray], n_known: int
            ) -> np.ndarray:
    """Return item embeddings of a kind: ``states``, ``preferences``, or ``both``, which ``auto`` is too.

    Arguments as for `combined`; the functions are called only if the kind needs their array.

    Raises:
        ValueError: the kind is another one.
    """
    if kind not in ("auto", "states", "preferences", "both"):
        raise ValueError(f"kind is {kind!r}; expected auto, states, preferences or both")
    if kind == "states":
        return states()
    return preferences() if kind == "preferences" else combined(states(), preferences(), n_known)


def combined(states: np.ndarray, preferences: np.ndarray, n_known: int) -> np.ndarray:
    """Concatenate two kinds of item embeddings, each centred and scaled to a mean squared norm of 1.

    Args:
        states: float32 [I+C+1, D] with a zero row 0.
        preferences: float32 [I+C+1, K] with a zero row 0.
        n_known: I; mean and norm are computed without the C cold items.

    Returns:
        float32 [I+C+1, D+K] with a zero row 0.
    """
    blocks = []
    for rows in (states, preferences):
        centred = rows[1:].astype(np.float64)
        centred -= centred[:n_known].mean(axis=0)
        blocks.append(centred / max(np.sqrt(np.square(centred[:n_known]).sum(axis=1).mean()), 1e-12))
    both = np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind")
    return np.concatenate([np.zeros_like(both[:1]), both])


def _aligned(path: Path, ids: Sequence[str], vectors: np.ndarray, wanted: Sequence[str], ignore_unknown: bool
             ) -> np.ndarray:
    """Return the vectors of a file as float32 [I+C+1, D]: a row of zeros, then the order of the wanted ids."""
    if len(ids) != len(vectors):
        raise TslrecError(f"{path} has {len(vectors)} vectors but {len(ids)} ids; expected one id per vector (and no "
                          "padding row)")
    repeated = [item for item, count in Counter(ids).items() if count > 1]
    if repeated:
        raise TslrecError(f"{path} has several vectors of {some_of(map(repr, repeated))}; expected one per item")
    places = {item: place for place, item in enumerate(ids)}
    missing = [item for item in wanted if item not in places]
    if missing:
        raise TslrecError(f"{path} has no vector of {some_of(map(repr, missing))}: {len(missing)} of {len(wanted)} "
                          "items of the data set are missing; add them")
    known = set(wanted)
    unknown = [item for item in ids if item not in known]
    if unknown and not ignore_unknown:
        raise TslrecError(f"{path} has vectors of {some_of(map(repr, unknown))}, {len(unknown)} in all, which are not "
                          "in the data set; remove them, or give --ignore-unknown-items")
    if unknown:
        note(f"{path}: ignoring {len(unknown)} items that are not in the data set")
    rows = np.zeros((len(wanted) + 1, vectors.shape[1]), np.float32)
    with np.errstate(over="ignore"):  # numbers too large for float32 become infinite and are refused
        rows[1:] = vectors[[places[item] for item in wanted]]
    bad = np.flatnonzero(~np.isfinite(rows[1:]).all(axis=1)).tolist()
    if bad:
        raise TslrecError(f"{path}: the vectors of {some_of(repr(wanted[place]) for place in bad)} are not finite in "
                          "float32; expected numbers without NaN and infinity")
    return rows
