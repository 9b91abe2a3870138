"""Raw interactions -> Dataset: k-core, order, numbering, cold items."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts import Recipe, is_current, read_json, sha256_of_file, write_artifact, write_json
from ..configs import PrepareConfig
from ..errors import TslrecError
from ..progress import step
from .cold import ColdItems
from .dataset import Dataset, Histories
from .readers import RawInteractions, RawItems, find_source, read_interactions, read_items


def prepare(source: Path, out: Path, config: PrepareConfig, *, items: Path | None = None,
            existing: str = "refuse") -> dict[str, Any]:
    """Read raw data and write the data set artifact.

    Args:
        source: a file of interactions or a folder that holds one.
        out: folder of the artifact.
        config: format, columns, k-core, cold items.
        items: file with the titles; None: the one beside the interactions.
        existing: what to do with an artifact at `out`: ``refuse`` it, ``overwrite`` it, or ``reuse`` it if it
            was made from the same inputs by the same configuration.

    Returns:
        The contents of dataset.json: statistics, what was left out, and the split's hash.

    Raises:
        TslrecError: something can't be read, or nothing is left after the filters.
    """
    found = find_source(source, items, config)
    if found.items is None:
        raise TslrecError(f"no titles beside {found.interactions} (.item, items.tsv, items.csv, movies.dat, "
                          "movies.csv); name the file with --items")
    inputs = {"interactions": sha256_of_file(found.interactions), "items": sha256_of_file(found.items)}
    recipe = Recipe("dataset", asdict(config) | {"format": found.format}, inputs)
    if existing == "reuse" and is_current(out, recipe):
        return read_json(out / "dataset.json")
    with write_artifact(out, recipe, overwrite=existing != "refuse") as folder:
        step(f"reads {found.interactions} ({found.format})")
        raw = read_interactions(found, config)
        step(f"reads {found.items}")
        texts = read_items(found.items, config)
        step(f"filters {len(raw.users):,} interactions: {config.k_core}-core")
        dataset = build_dataset(raw, texts, k_core=config.k_core)
        if config.cold_items:
            dataset = hold_out_items(dataset, config.cold_items, config.cold_seed)
        dataset.save(folder)
        summary = dataset.statistics() | {
            "k_core": config.k_core, "raw_interactions": len(raw.users) + raw.below_min_rating,
            "below_min_rating": raw.below_min_rating,
            "unescaped_items": len(texts.unescaped.intersection(dataset.item_ids)),
        }
        write_json(folder / "dataset.json", summary)
    return summary


def build_dataset(raw: RawInteractions, texts: RawItems, *, k_core: int) -> Dataset:
    """Filter, order and number interactions.

    Order: stable by (user, time, input order). Internal ids follow the sorted external ids, so they don't
    depend on who interacted with what.

    Args:
        raw: the interactions.
        texts: of the items; every item that stays must be in it.
        k_core: least interactions of a user and of an item; 0 or 1 keeps all.

    Raises:
        TslrecError: nothing is left, or an item has no title row.
    """
    if not raw.users:
        raise TslrecError("there are no interactions to prepare; check the file and --min-rating")
    if any("\0" in name for names in (raw.users, raw.items) for name in names):
        raise TslrecError("an id holds a NUL character; rename it in the input")
    all_users, users = np.unique(np.array(raw.users), return_inverse=True)
    all_items, items = np.unique(np.array(raw.items), return_inverse=True)
    for name in (*all_users, *all_items):
        if any(mark in name for mark in "\t\r\n"):
            raise TslrecError(f"id {str(name)!r} holds a tab or a line break; rename it in the input")
    kept = k_core_mask(users, items, k_core)
    if not kept.any():
        raise TslrecError(f"no interaction is left after the {k_core}-core of {len(all_users)} users, "
                          f"{len(all_items)} items and {len(users)} interactions; lower --k-core")
    times = np.array(raw.times)[kept] if raw.times else None
    user_ids, users = _renumbered(all_users, users[kept])
    item_ids, items = _renumbered(all_items, items[kept])
    unknown = [item for item in item_ids if item not in texts.titles]
    if unknown:
        raise TslrecError(f"{len(unknown)} items of the histories are not in the items file, the first is "
                          f"{unknown[0]!r}; add their rows (a blank title is allowed)")
    order = np.lexsort((users,) if times is None else (times, users))
    indptr = _offsets(np.bincount(users, minlength=len(user_ids)))
    return Dataset(Histories(indptr, (items[order] + 1).astype(np.int32)), user_ids, item_ids,
                   [texts.titles[item] for item in item_ids], None if times is None else times[order],
                   {name: [of_item[item] for item in item_ids] for name, of_item in texts.fields.items()})


def hold_out_items(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Make some of the items cold: their interactions leave the histories, and users without another one go too.

    What is left is the data set that the other interactions alone would give. Which items are cold follows from
    `seed` and the catalogue: no interaction has a part in it.

    Args:
        dataset: with all items.
        share: of the items, above 0; rounded to a number of items, at least one.
        seed: of the draw.

    Raises:
        TslrecError: no user has a cold item with a warm one before it.
    """
    is_cold = _drawn(dataset.item_ids, max(1, round(share * dataset.n_items)), seed)
    items, lengths = dataset.histories.items - 1, np.diff(dataset.histories.indptr)
    users, cold = np.repeat(np.arange(dataset.n_users), lengths), is_cold[items]
    warm_so_far = np.concatenate([[0], np.cumsum(~cold)])
    n_warm = np.diff(warm_so_far[dataset.histories.indptr])
    warm_before = warm_so_far[:-1] - np.repeat(warm_so_far[dataset.histories.indptr[:-1]], lengths)
    candidates = np.flatnonzero(cold & (warm_before > 0))
    if not len(candidates):
        raise TslrecError(f"{is_cold.sum()} of {dataset.n_items} items are cold, and no user has one of them with "
                          "another item before it; raise --cold-items, or draw others with --cold-seed")
    last = candidates[np.diff(users[candidates], append=-1) != 0]  # each user's last candidate, [E]
    until = np.zeros(dataset.n_users, np.int64)
    until[users[last]] = last
    earlier = np.flatnonzero(cold & (np.arange(len(items)) < until[users]))
    number = np.where(is_cold, np.cumsum(is_cold), np.cumsum(~is_cold))  # from 1, apart for warm and cold
    stays = n_warm > 0
    warm, held_out = ([place for place, is_held_out in enumerate(is_cold) if is_held_out == which]
                      for which in (False, True))
    (item_ids, titles, fields), cold_texts = (_texts_of(dataset, places) for places in (warm, held_out))
    return replace(
        dataset, histories=Histories(_offsets(n_warm[stays]), number[items[~cold]].astype(np.int32)),
        user_ids=[name for name, kept in zip(dataset.user_ids, stays, strict=True) if kept],
        item_ids=item_ids, titles=titles, fields=fields,
        timestamps=None if dataset.timestamps is None else dataset.timestamps[~cold],
        cold=ColdItems(*cold_texts, users=(np.cumsum(stays) - 1)[users[last]], targets=number[items[last]],
                       warm_before=warm_before[last], earlier=number[items[earlier]],
                       indptr=_offsets(np.bincount(users[earlier], minlength=dataset.n_users)[users[last]]),
                       n_interactions=int(cold.sum())))


def _drawn(item_ids: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Draw `count` items, bool [I]: by a hash of their ids, so another catalogue's draw is about the same one."""
    order = sorted(range(len(item_ids)), key=lambda item: hashlib.sha256(f"{seed}\t{item_ids[item]}".encode()).digest())
    drawn = np.zeros(len(item_ids), bool)
    drawn[order[:count]] = True
    return drawn


def _texts_of(dataset: Dataset, places: list[int]) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Return ids, titles and further columns of some items, by place from 0."""
    item_ids, titles, *columns = ([texts[place] for place in places]
                                  for texts in (dataset.item_ids, dataset.titles, *dataset.fields.values()))
    return item_ids, titles, dict(zip(dataset.fields, columns, strict=True))


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def k_core_mask(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Return which interactions stay when users and items with fewer than `k` are dropped until none is.

    Args:
        users, items: int64 [N].
        k: least number of interactions.

    Returns:
        bool [N].
    """
    kept = np.ones(len(users), bool)
    while True:
        user_counts = np.bincount(users[kept], minlength=users.max() + 1)
        item_counts = np.bincount(items[kept], minlength=items.max() + 1)
        stay = kept & (user_counts[users] >= k) & (item_counts[items] >= k)
        if stay.sum() == kept.sum():
            return kept
        kept = stay
        if not kept.any():
            return kept


def _renumbered(ids: np.ndarray, codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Keep the ids in use, numeric ones in numeric order, and number the codes 0.. accordingly."""
    used, codes = np.unique(codes, return_inverse=True)
    names = [str(name) for name in ids[used]]
    order = sorted(range(len(names)), key=lambda place: (not names[place].isdecimal(),
                                                         len(names[place]) if names[place].isdecimal() else 0,
                                                         names[place]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return [names[place] for place in order], rank[codes]
