"""Items that are similar to an item, by the cosine of item embeddings."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset, load_dataset
from ..errors import TslrecError, some_of
from ..item_vectors.load import ItemEmbeddings, load_item_embeddings
from ..ranking.neighbours import nearest


@dataclass(frozen=True)
class Neighbour:
    """An item near another."""

    item: str
    """External id."""
    title: str
    cosine: float


def similar_items(dataset: Dataset, embeddings: ItemEmbeddings, items: Sequence[str], k: int) -> list[list[Neighbour]]:
    """Find the k nearest neighbours of items by cosine; an item is no neighbour of its own.

    Args:
        dataset: the catalogue; cold items are looked at where they have embeddings.
        embeddings: of its items.
        items: external ids.
        k: neighbours of each.

    Returns:
        For each item its neighbours, the nearest first; ties go to the item that comes first in the data set.

    Raises:
        TslrecError: an id is unknown; the message suggests those whose titles contain the text.
    """
    titles = dict(zip(dataset.with_cold_items().item_ids, dataset.with_cold_items().titles, strict=True))
    ids = embeddings.ids
    places = {item: place for place, item in enumerate(ids)}
    for item in items:
        if item not in places:
            raise TslrecError(_unknown(item, ids, titles))
    near, cosines = nearest(embeddings.rows[1:], np.array([places[item] for item in items], np.int64), k)
    return [[Neighbour(ids[place], titles[ids[place]], float(cosine)) for place, cosine in zip(*of_item, strict=True)]
            for of_item in zip(near, cosines, strict=True)]


def similar_rows(dataset_path: Path, items: Sequence[str], k: int, *, embeddings: Path | None, run: Path | None
                 ) -> list[dict[str, Any]]:
    """Find neighbours by the embeddings of an artifact, or of a file, as rows for a data frame.

    Args:
        dataset_path: data set artifact.
        items, k: see `similar_items`.
        embeddings: see `load_item_embeddings`.
        run: train artifact, in place of `embeddings`.

    Returns:
        A row for every item asked for and neighbour: item, rank (from 1), similar, title (of the similar one), cosine.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set, an id is unknown, or not one of
            `embeddings` and `run` is given.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    if embeddings is not None and run is None:
        compared = load_item_embeddings(embeddings, dataset)
    elif run is not None and embeddings is None:
        from ..recommenders.artifact import load_item_table  # loads torch

        compared = load_item_table(run, dataset, dataset_hash)
    else:
        raise TslrecError(f"embeddings is {embeddings} and run {run}; give one of them")
    return [{"item": item, "rank": rank, "similar": near.item, "title": near.title, "cosine": near.cosine}
            for item, neighbours in zip(items, similar_items(dataset, compared, items, k), strict=True)
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
