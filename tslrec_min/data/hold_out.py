"""The draw of cold items, and what the data set is without them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import TslrecError
from .cold import ColdItems
from .csr import offsets, owners
from .dataset import Dataset
from .histories import Histories


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
    items, lengths = dataset.histories.items - 1, dataset.histories.lengths
    users, cold = owners(lengths), is_cold[items]
    early, late = _periods(dataset)
    stays = np.bincount(users[~cold & early], minlength=dataset.n_users) > 0
    warm_so_far = np.concatenate([[0], np.cumsum(~cold)])
    warm_before = warm_so_far[:-1] - np.repeat(warm_so_far[dataset.histories.indptr[:-1]], lengths)
    candidates = np.flatnonzero(cold & late & stays[users] & (warm_before > 0))
    if not len(candidates):
        raise TslrecError(f"{is_cold.sum()} of {dataset.n_items} items are cold, and no user has one of them with "
                          "another item before it; raise --cold-items, or draw others with --cold-seed")
    last = candidates[np.diff(users[candidates], append=-1) != 0]  # each user's last candidate, [E]
    until = np.zeros(dataset.n_users, np.int64)
    until[users[last]] = last
    earlier = np.flatnonzero(cold & (np.arange(len(items)) < until[users]))
    number = np.where(is_cold, np.cumsum(is_cold), np.cumsum(~is_cold))  # from 1, apart for warm and cold
    remain = ~cold & stays[users]
    warm, held_out = ([place for place, is_held_out in enumerate(is_cold) if is_held_out == which]
                      for which in (False, True))
    (item_ids, titles, fields), cold_texts = (_texts_of(dataset, places) for places in (warm, held_out))
    return replace(
        dataset, histories=Histories(offsets(np.bincount(users[remain], minlength=dataset.n_users)[stays]),
                                     number[items[remain]].astype(np.int32)),
        user_ids=[name for name, kept in zip(dataset.user_ids, stays, strict=True) if kept],
        item_ids=item_ids, titles=titles, fields=fields,
        timestamps=None if dataset.timestamps is None else dataset.timestamps[remain],
        cold=ColdItems(*cold_texts, users=(np.cumsum(stays) - 1)[users[last]], targets=number[items[last]],
                       warm_before=warm_before[last], earlier=number[items[earlier]],
                       indptr=offsets(np.bincount(users[earlier], minlength=dataset.n_users)[users[last]]),
                       n_interactions=int(cold.sum())))


def _periods(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return which interactions may be learned from and which may be cold targets, bool [N].

    With leave-one-out all of them; with the temporal split those of the training and of the test period.
    """
    if dataset.cuts is None or dataset.timestamps is None:
        everything = np.ones(len(dataset.histories.items), bool)
        return everything, everything
    return dataset.timestamps < dataset.cuts[0], dataset.timestamps >= dataset.cuts[1]


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
