"""Item vectors by item id: those of artifacts, of anybody's files, brought into the order of a data set; and export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..errors import TslrecError, some_of
from ..runtime.progress import note
from ..storage.artifacts import sha256_of_file
from .artifact import load_all_embeddings
from .formats import read_vectors


@dataclass(frozen=True)
class ItemVectors:
    """Vectors of items by id."""

    item_ids: Sequence[str]
    """External ids, [n]; cold items, where they have vectors, are the last."""
    rows: np.ndarray
    """float32 [n, D]."""


def load_item_vectors(path: Path, dataset: Dataset, *, ids_path: Path | None = None, ignore_unknown: bool = False,
                      kind: str = "states") -> tuple[np.ndarray, dict[str, str]]:
    """Read item vectors for a data set: an embed artifact, or a file in one of the formats of `vector_files`.

    A file's rows may be in any order: they are found by their ids. It must have every item of the data set, cold ones
    included, once, with finite numbers.

    Args:
        path: folder or file.
        dataset: the catalogue.
        ids_path: the ids of an .npy file, see `vector_files.read_vectors`.
        ignore_unknown: leave out the file's items that the data set doesn't know; how many is said on standard error.
        kind: of an artifact's vectors, one of `configs.VECTORS`; a file has no others than its own.

    Returns:
        float32 [I+C+1, D] with a zero row 0, cold items from row I+1; and the hashes that a recipe records: of the
        artifact, or of the file and the file of its ids.

    Raises:
        TslrecError: it can't be read or doesn't fit the data set; names the items that differ.
    """
    if path.is_dir():
        _refuse_file_options(path, ids_path, ignore_unknown)
        vectors, artifact_hash = load_all_embeddings(path, dataset, kind)
        return vectors, {"embeddings": artifact_hash}
    if kind in ("preferences", "both"):
        raise TslrecError(f"{path} is a file of vectors; --vectors {kind} is for folders that tslrec embed wrote")
    ids, rows = read_vectors(path, ids_path)
    vectors = _aligned(path, ids, rows, dataset.with_cold_items().item_ids, ignore_unknown)
    hashes = {"embeddings": sha256_of_file(path)}
    return vectors, hashes if ids_path is None else hashes | {"embedding_ids": sha256_of_file(ids_path)}


def _refuse_file_options(path: Path, ids_path: Path | None, ignore_unknown: bool) -> None:
    if ids_path is not None or ignore_unknown:
        raise TslrecError(f"{path} is a folder; --embedding-ids and --ignore-unknown-items are for files of vectors")


def _aligned(path: Path, ids: Sequence[str], rows: np.ndarray, wanted: Sequence[str], ignore_unknown: bool
             ) -> np.ndarray:
    """Return float32 [I+C+1, D] in the order of the ids wanted, below a zero row."""
    if len(ids) != len(rows):
        raise TslrecError(f"{path} has {len(rows)} vectors, but there are {len(ids)} ids; expected an id for each (and "
                          "no row for padding)")
    repeated = [item for item, count in Counter(ids).items() if count > 1]
    if repeated:
        raise TslrecError(f"{path} has several vectors of {some_of(map(repr, repeated))}; expected one of each item")
    known = set(wanted)
    places = {item: place for place, item in enumerate(ids) if item in known}
    missing = [item for item in wanted if item not in places]
    if missing:
        raise TslrecError(f"{path} has no vector of {some_of(map(repr, missing))}: {len(missing)} of {len(wanted)} "
                          "items of the data set are missing; add them")
    unknown = [item for item in ids if item not in known]
    if unknown and not ignore_unknown:
        raise TslrecError(f"{path} has vectors of {some_of(map(repr, unknown))}, {len(unknown)} in all, which the data "
                          "set doesn't know; take them out, or give --ignore-unknown-items")
    if unknown:
        note(f"{path}: {len(unknown)} items that the data set doesn't know are ignored")
    order = np.array([places[item] for item in wanted], np.int64)
    vectors = np.zeros((len(wanted) + 1, rows.shape[1]), np.float32)
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused
        vectors[1:] = rows[order]
    finite = np.isfinite(vectors[1:]).all(axis=1)
    if not finite.all():
        bad = [wanted[place] for place in np.flatnonzero(~finite).tolist()]
        raise TslrecError(f"{path}: the vectors of {some_of(map(repr, bad))} are not finite in float32; expected "
                          "numbers without NaN and infinity")
    return vectors


def embedded_vectors(path: Path, dataset: Dataset, *, ids_path: Path | None = None, ignore_unknown: bool = False,
                     kind: str = "states") -> ItemVectors:
    """Return what `load_item_vectors` reads, by item."""
    vectors, _ = load_item_vectors(path, dataset, ids_path=ids_path, ignore_unknown=ignore_unknown, kind=kind)
    return ItemVectors(dataset.with_cold_items().item_ids, vectors[1:])
