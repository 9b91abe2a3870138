"""Item embeddings of a data set, out of an embed artifact or a file of anybody's vectors, in the order of its items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..errors import TslrecError, some_of
from ..runtime.progress import note
from ..storage.arrays import load_array
from ..storage.artifacts import open_artifact, sha256_of_file
from .artifact import ITEMS, PREFERENCES, STATES
from .formats import read_vectors


@dataclass(frozen=True)
class ItemEmbeddings:
    """Embeddings of a catalogue's items; row 0 is padding, as in the artifact, so that item i has row i."""

    ids: Sequence[str]
    """External ids, [I+C]; ``ids[i - 1]`` is item i, and the C cold items are the last."""
    rows: np.ndarray
    """float32 [I+C+1, D]."""
    n_cold: int = 0
    """C; 0 too where cold items have no rows."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """What a recipe records: the hash of the artifact, or of the file and the file of its ids."""

    @property
    def known(self) -> np.ndarray:
        """What may be learned from: the padding row and the rows of the items that aren't cold, float32 [I+1, D]."""
        return self.rows[:len(self.rows) - self.n_cold]

    @property
    def cold(self) -> np.ndarray:
        """Rows of the cold items, float32 [C, D]."""
        return self.rows[len(self.rows) - self.n_cold:]


def load_item_embeddings(path: Path, dataset: Dataset, kind: str = "states", *, ids_path: Path | None = None,
                         ignore_unknown: bool = False) -> ItemEmbeddings:
    """Read item embeddings for a data set: an embed artifact, or a file in one of the formats of `formats`.

    A file's rows may be in any order: they are found by their ids. It must have every item of the data set, cold ones
    included, once, with finite numbers.

    Args:
        path: folder or file.
        dataset: the catalogue.
        kind: of an artifact's embeddings, one of `configs.VECTORS`; a file has no others than its own.
        ids_path: the ids of an .npy file, see `formats.read_vectors`.
        ignore_unknown: leave out the file's items that the data set doesn't know; how many is said on standard error.

    Returns:
        Embeddings of all items, cold ones included; row 0 is zeros.

    Raises:
        TslrecError: they can't be read or don't fit the data set; names the items that differ.
    """
    everything = dataset.with_cold_items()
    if path.is_dir():
        refuse_file_options(path, ids_path, ignore_unknown)
        artifact = open_artifact(path, "embed")
        rows = _rows_of_artifact(artifact.path, everything, dataset.n_items, kind)
        hashes = {"embeddings": artifact.hash}
    else:
        if kind in ("preferences", "both"):
            raise TslrecError(f"{path} is a file of vectors; --vectors {kind} is for folders that tslrec embed wrote")
        ids, vectors = read_vectors(path, ids_path)
        rows = _aligned(path, ids, vectors, everything.item_ids, ignore_unknown)
        files = {"embeddings": path} | ({} if ids_path is None else {"embedding_ids": ids_path})
        hashes = {name: sha256_of_file(file) for name, file in files.items()}
    return ItemEmbeddings(everything.item_ids, rows, everything.n_items - dataset.n_items, hashes)


def refuse_file_options(path: Path, ids_path: Path | None, ignore_unknown: bool) -> None:
    """Raise TslrecError if something is asked of an artifact that only a file of vectors can have."""
    if ids_path is not None or ignore_unknown:
        raise TslrecError(f"{path} is a folder; --embedding-ids and --ignore-unknown-items are for files of vectors")


def _rows_of_artifact(path: Path, dataset: Dataset, n_known: int, kind: str) -> np.ndarray:
    """Return the rows of an embed artifact, float32 [I+C+1, D], given a data set that has its cold items among them."""
    try:
        ids = (path / ITEMS).read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise TslrecError(f"{path} has no readable {ITEMS}: {error}; run tslrec embed again") from None
    if ids != list(dataset.item_ids):
        raise TslrecError(f"the embeddings {path} are of another catalogue: {_difference(ids, dataset.item_ids)}; "
                          "run tslrec embed on this data set")
    if not (path / PREFERENCES).is_file():
        if kind not in ("auto", "states"):
            raise TslrecError(f"{path} has states alone: preferences come from the head of a fine-tuned model (tslrec "
                              "embed --finetuned); take --vectors states")
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
    """Read an array of an embed artifact, a row for every item of the catalogue below one of zeros."""
    rows = load_array(path)
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != dataset.n_items + 1:
        raise TslrecError(f"{path}: the array is {rows.dtype} {list(rows.shape)}; expected float32 with "
                          f"{dataset.n_items + 1} rows")
    if not np.isfinite(rows).all() or rows[0].any():
        raise TslrecError(f"{path}: a number is not finite, or the padding row 0 is not zero; run tslrec embed again")
    return rows


def of_kind(kind: str, states: Callable[[], np.ndarray], preferences: Callable[[], np.ndarray], n_known: int
            ) -> np.ndarray:
    """Return item embeddings of a kind where there are states and preferences.

    Args:
        kind: one of `configs.VECTORS`; ``auto`` is both.
        states: returns them, if they are wanted; see `combined`.
        preferences: likewise.
        n_known: I, see `combined`.
    """
    if kind == "states":
        return states()
    return preferences() if kind == "preferences" else combined(states(), preferences(), n_known)


def combined(states: np.ndarray, preferences: np.ndarray, n_known: int) -> np.ndarray:
    """Put item embeddings of two kinds side by side, each centred and with a mean squared norm of 1.

    Mean and norm are those of the items that may be learned from; cold ones follow them.

    Args:
        states: float32 [I+C+1, D] with a zero row 0.
        preferences: float32 [I+C+1, K] with a zero row 0.
        n_known: I.

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
    """Return the vectors of a file, float32 [I+C+1, D], in the order of the ids wanted, below a zero row."""
    if len(ids) != len(vectors):
        raise TslrecError(f"{path} has {len(vectors)} vectors, but there are {len(ids)} ids; expected an id for each "
                          "(and no row for padding)")
    repeated = [item for item, count in Counter(ids).items() if count > 1]
    if repeated:
        raise TslrecError(f"{path} has several vectors of {_quoted(repeated)}; expected one of each item")
    known = set(wanted)
    places = {item: place for place, item in enumerate(ids) if item in known}
    missing = [item for item in wanted if item not in places]
    if missing:
        raise TslrecError(f"{path} has no vector of {_quoted(missing)}: {len(missing)} of {len(wanted)} items of the "
                          "data set are missing; add them")
    unknown = [item for item in ids if item not in known]
    if unknown and not ignore_unknown:
        raise TslrecError(f"{path} has vectors of {_quoted(unknown)}, {len(unknown)} in all, which the data set "
                          "doesn't know; take them out, or give --ignore-unknown-items")
    if unknown:
        note(f"{path}: {len(unknown)} items that the data set doesn't know are ignored")
    order = np.array([places[item] for item in wanted], np.int64)
    rows = np.zeros((len(wanted) + 1, vectors.shape[1]), np.float32)
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused
        rows[1:] = vectors[order]
    finite = np.isfinite(rows[1:]).all(axis=1)
    if not finite.all():
        bad = [wanted[place] for place in np.flatnonzero(~finite).tolist()]
        raise TslrecError(f"{path}: the vectors of {_quoted(bad)} are not finite in float32; expected numbers without "
                          "NaN and infinity")
    return rows


def _quoted(ids: Sequence[str]) -> str:
    return some_of([repr(item) for item in ids])
