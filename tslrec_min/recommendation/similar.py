"""Similar items, by the cosine of their embeddings."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import load_dataset
from ..errors import TslrecError, some_of
from ..item_vectors.load import load_item_embeddings
from ..ranking.neighbours import nearest


def similar_items(dataset_path: Path, items: Sequence[str], k: int, *, embeddings: Path | None, run: Path | None,
                  kind: str = "states", ids_path: Path | None = None, ignore_unknown: bool = False
                  ) -> list[tuple[str, list[dict[str, Any]]]]:
    """Find the k nearest other items of each item by cosine; ties go to the item that comes first in the data set.

    Args:
        dataset_path: data set artifact.
        items: external ids; cold items can be found if they have embeddings.
        k: number of neighbours.
        embeddings, kind, ids_path, ignore_unknown: item embeddings, see `load_item_embeddings`.
        run: train artifact, whose item table is compared instead of `embeddings`.

    Returns:
        For each item its title, and the ``item``, ``title`` and ``cosine`` of its neighbours, the nearest first.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set, or an id is unknown; the message suggests
            items whose titles contain the text. Or not exactly one of `embeddings` and `run` is given.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    if embeddings is not None and run is None:
        compared = load_item_embeddings(embeddings, dataset, kind, ids_path=ids_path, ignore_unknown=ignore_unknown)
    elif run is not None and embeddings is None:
        from ..recommenders.artifact import load_item_table  # loads torch

        compared = load_item_table(run, dataset, dataset_hash)
    else:
        raise TslrecError(f"embeddings is {embeddings} and run {run}; give one of them")
    titles = dict(zip(dataset.with_cold_items().item_ids, dataset.with_cold_items().titles, strict=True))
    ids = compared.ids
    places = {item: place for place, item in enumerate(ids)}
    for item in items:
        if item not in places:
            raise TslrecError(_unknown(item, ids, titles))
    near, cosines = nearest(compared.rows[1:], np.array([places[item] for item in items], np.int64), k)
    return [(titles[item], [{"item": ids[place], "title": titles[ids[place]], "cosine": float(cosine)}
                            for place, cosine in zip(of_item, values, strict=True)])
            for item, of_item, values in zip(items, near, cosines, strict=True)]


def similar_rows(dataset_path: Path, items: Sequence[str], k: int, *, embeddings: Path | None, run: Path | None
                 ) -> list[dict[str, Any]]:
    """Return the result of `similar_items`, with the same arguments, as rows: item, rank, similar, title, cosine."""
    found = similar_items(dataset_path, items, k, embeddings=embeddings, run=run)
    return [{"item": item, "rank": rank, "similar": near["item"], "title": near["title"], "cosine": near["cosine"]}
            for item, (_, neighbours) in zip(items, found, strict=True) for rank, near in enumerate(neighbours, 1)]


def _plain(text: str) -> str:
    """Remove case and accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))


def _unknown(item: str, item_ids: Sequence[str], titles: dict[str, str]) -> str:
    """Return the message for an unknown item, with the items that may be meant."""
    wanted = _plain(item)
    meant = [f"{known} ({titles[known]})" for known in item_ids if wanted and wanted in _plain(titles[known])]
    if not meant:
        return f"there is no item {item!r}, and no title contains it; give an item id of the data set's items.tsv"
    return f"there is no item {item!r}; titles that contain it: {some_of(meant)}; give one of the ids"
