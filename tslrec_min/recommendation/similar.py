"""Items that are similar to an item: the cosine of item vectors, in float32, block by block over the catalogue."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError, some_of
from ..item_vectors.align import ItemVectors, embedded_vectors
from ..ranking.neighbours import nearest
from ..recommenders.artifact import run_vectors


@dataclass(frozen=True)
class Neighbour:
    """An item near another."""

    item: str
    """External id."""
    title: str
    cosine: float


def similar_items(dataset: Dataset, vectors: ItemVectors, items: Sequence[str], k: int) -> list[list[Neighbour]]:
    """Find the k nearest neighbours of items by cosine; an item is no neighbour of its own.

    Args:
        dataset: the catalogue; cold items are looked at where they have vectors.
        vectors: of its items.
        items: external ids.
        k: neighbours of each.

    Returns:
        For each item its neighbours, the nearest first; ties go to the item that comes first in the data set.

    Raises:
        TslrecError: an id is unknown; the message suggests those whose titles contain the text.
    """
    titles = dict(zip(dataset.with_cold_items().item_ids, dataset.with_cold_items().titles, strict=True))
    rows = {item: row for row, item in enumerate(vectors.item_ids)}
    for item in items:
        if item not in rows:
            raise TslrecError(_unknown(item, vectors.item_ids, titles))
    places, cosines = nearest(vectors.rows, np.array([rows[item] for item in items], np.int64), k)
    return [[Neighbour(vectors.item_ids[place], titles[vectors.item_ids[place]], float(cosine))
             for place, cosine in zip(*found, strict=True)] for found in zip(places, cosines, strict=True)]


def similar_rows(dataset_path: Path, items: Sequence[str], k: int, *, embeddings: Path | None, run: Path | None
                 ) -> list[dict[str, Any]]:
    """Find neighbours by the vectors of an artifact, or of a file, as rows for a data frame.

    Args:
        dataset_path: data set artifact.
        items, k: see `similar_items`.
        embeddings: see `vectors.embedded_vectors`.
        run: train artifact, in place of `embeddings`.

    Returns:
        A row for every item asked for and neighbour: item, rank (from 1), similar, title (of the similar one), cosine.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set, an id is unknown, or not one of
            `embeddings` and `run` is given.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    if embeddings is not None and run is None:
        vectors = embedded_vectors(embeddings, dataset)
    elif run is not None and embeddings is None:
        vectors = run_vectors(run, dataset, dataset_hash)
    else:
        raise TslrecError(f"embeddings is {embeddings} and run {run}; give one of them")
    return [{"item": item, "rank": rank, "similar": near.item, "title": near.title, "cosine": near.cosine}
            for item, neighbours in zip(items, similar_items(dataset, vectors, items, k), strict=True)
            for rank, near in enumerate(neighbours, 1)]


def _plain(text: str) -> str:
    """Return a text as it is looked for: without case and accents."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(sign))


def _unknown(item: str, item_ids: Sequence[str], titles: dict[str, str]) -> str:
    """Say that there is no such item, and which ones may be meant."""
    wanted = _plain(item)
    meant = [f"{known} ({titles[known]})" for known in item_ids if wanted and wanted in _plain(titles[known])]
    if not meant:
        return f"there is no item {item!r}, and no title contains it; give an item id of the data set's items.tsv"
    return f"there is no item {item!r}; titles that contain it: {some_of(meant)}; give one of the ids"
