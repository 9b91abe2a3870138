"""Draw cold items and take their interactions out of the histories."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress

import numpy as np

from ..errors import TslrecError
from .cold import ColdItems
from .csr import offsets, owners
from .dataset import Dataset
from .histories import Histories


def hold_out_items(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Make some of the items cold: remove their interactions, and users who have no others.

    The result is the data set that the other interactions alone would give. Which items are cold depends on
    `seed` and the catalogue, not on the interactions.

    Args:
        dataset: with all items.
        share: cold items as a fraction of all, above 0; at least one item.
        seed: of the draw.

    Raises:
        TslrecError: no user has a cold item with a warm one before it.
    """
    is_cold = _drawn(dataset.item_ids, max(1, round(share * dataset.n_items)), seed)
    items, lengths = dataset.histories.items - 1, dataset.histories.lengths
    users, cold = owners(lengths), is_cold[items]
    early = late = np.ones(len(items), bool)  # training interactions, and possible cold targets
    if dataset.cuts is not None and dataset.timestamps is not None:
        early, late = dataset.timestamps < dataset.cuts[0], dataset.timestamps >= dataset.cuts[1]
    stays = np.bincount(users[~cold & early], minlength=dataset.n_users) > 0
    warm_so_far = offsets(~cold)
    warm_before = warm_so_far[:-1] - np.repeat(warm_so_far[dataset.histories.indptr[:-1]], lengths)
    candidates = np.flatnonzero(cold & late & stays[users] & (warm_before > 0))
    if not len(candidates):
        raise TslrecError(f"{is_cold.sum()} of {dataset.n_items} items are cold, and no user has one of them with "
                          "another item before it; raise --cold-items, or draw others with --cold-seed")
    last = candidates[np.diff(users[candidates], append=-1) != 0]  # each user's last candidate, [E]
    until = np.zeros(dataset.n_users, np.int64)
    until[users[last]] = last
    earlier = np.flatnonzero(cold & (np.arange(len(items)) < until[users]))
    number = np.where(is_cold, np.cumsum(is_cold), np.cumsum(~is_cold))  # from 1, separately for warm and cold
    remain = ~cold & stays[users]
    (item_ids, titles, fields), cold_texts = (_texts_of(dataset, chosen) for chosen in (~is_cold, is_cold))
    return replace(
        dataset, histories=Histories(offsets(np.bincount(users[remain], minlength=dataset.n_users)[stays]),
                                     number[items[remain]].astype(np.int32)),
        user_ids=list(compress(dataset.user_ids, stays)),
        item_ids=item_ids, titles=titles, fields=fields,
        timestamps=None if dataset.timestamps is None else dataset.timestamps[remain],
        cold=ColdItems(*cold_texts, users=(np.cumsum(stays) - 1)[users[last]], targets=number[items[last]],
                       warm_before=warm_before[last], earlier=number[items[earlier]],
                       indptr=offsets(np.bincount(users[earlier], minlength=dataset.n_users)[users[last]]),
                       n_interactions=int(cold.sum())))


def _drawn(item_ids: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Draw `count` items, bool [I], by a hash of their ids: similar catalogues get similar draws."""
    order = sorted(range(len(item_ids)), key=lambda item: hashlib.sha256(f"{seed}\t{item_ids[item]}".encode()).digest())
    drawn = np.zeros(len(item_ids), bool)
    drawn[order[:count]] = True
    return drawn


def _texts_of(dataset: Dataset, chosen: np.ndarray) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Return ids, titles and further columns of the items of a mask, bool [I]."""
    item_ids, titles, *columns = (list(compress(texts, chosen))
                                  for texts in (dataset.item_ids, dataset.titles, *dataset.fields.values()))
    return item_ids, titles, dict(zip(dataset.fields, columns, strict=True))
