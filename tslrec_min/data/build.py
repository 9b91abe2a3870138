"""Raw interactions -> data set: k-core, order, numbering, and the cuts of the temporal split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import TslrecError
from .csr import offsets
from .dataset import Dataset
from .histories import Histories
from .interaction_rows import k_core_mask, rows_by_time
from .raw.interactions import RawInteractions
from .raw.titles import RawItems

_LONGEST_IN_WORDS = 64
"""Bytes of the longest id for which ids are compared as numbers."""


def build_dataset(raw: RawInteractions, texts: RawItems, *, k_core: int, shares: tuple[float, float] | None = None,
                  blank_titles: bool = False) -> Dataset:
    """Filter, order and number interactions.

    Order: stable by (user, time, input order). Internal ids follow the sorted external ids, so they don't
    depend on the interactions.

    With the temporal split users, items and the k-core are those of the training period alone; later interactions of
    other users or with other items are left out. Only the cuts depend on anything from the first cut on.

    Args:
        raw: the interactions.
        texts: of the items; must have all items that stay, unless `blank_titles`.
        k_core: minimum number of interactions of a user and of an item; 0 or 1 keeps all.
        shares: fractions of the interactions in the validation and the test period of the temporal split; None:
            leave-one-out.
        blank_titles: whether items that are not in `texts` get a blank title.

    Raises:
        TslrecError: nothing is left, an item has no title row, or there are no times to split by.
    """
    if not (len(raw.users) or raw.below_min_rating or raw.outside_window or raw.bad_rows):
        raise TslrecError("there are no interactions to prepare: the file (or data frame) has no rows; give one with "
                          "a row for every interaction")
    if not len(raw.users):
        bad = "; ".join(f"{rows['rows']:,} rows: {reason}" for reason, rows in raw.bad_rows.items())
        raise TslrecError(f"there are no interactions to prepare: {raw.below_min_rating:,} are below --min-rating, "
                          f"{raw.outside_window:,} are outside --from-time to --until-time, and these can't be used: "
                          f"{bad or 'none'}; check the file and these options")
    cuts = None if shares is None else temporal_cuts(raw.times, *shares)
    mask = _kept(raw, k_core, cuts)
    kept: slice | np.ndarray = slice(None) if mask.all() else mask  # no copy of everything
    times = None if raw.times is None else raw.times[kept]
    user_ids, users = _renumbered(raw.user_ids, raw.users[kept])
    item_ids, items = _renumbered(raw.item_ids, raw.items[kept])
    unknown = [item for item in item_ids if item not in texts.titles]
    if unknown and not blank_titles:
        both = "" if unknown[0].isascii() else "; if it is there, the two files have different encodings: use the same"
        raise TslrecError(f"{len(unknown)} items of the histories are not in the items file, the first is "
                          f"{unknown[0]!r}; add their rows (a blank title is allowed), or give --missing-titles blank"
                          f"{both}")
    order = rows_by_time(users, times)
    indptr = offsets(np.bincount(users, minlength=len(user_ids)))
    return Dataset(Histories(indptr, (items[order] + 1).astype(np.int32)), user_ids, item_ids,
                   [texts.titles.get(item, "") for item in item_ids], None if times is None else times[order],
                   {name: [of_item.get(item, "") for item in item_ids] for name, of_item in texts.fields.items()},
                   cuts=cuts)


def temporal_cuts(times: np.ndarray | None, validation_share: float, test_share: float) -> tuple[float, float]:
    """Return the times at which the validation and the test period begin: quantiles of the interactions' times.

    Interactions at the time of a cut belong to the period that begins there, so equal times are never separated.

    Raises:
        TslrecError: there are no times, or too many are equal.
    """
    if times is None:
        raise TslrecError("--split temporal needs a time for every interaction; this input has none")
    ordered, count = np.sort(times), len(times)
    places = (count - round((validation_share + test_share) * count), count - round(test_share * count))
    first, second = (ordered[min(place, count - 1)].item() for place in places)
    if not ordered[0] < first < second:
        raise TslrecError(f"the times of {count} interactions can't be cut into shares of {validation_share} and "
                          f"{test_share}: too many are equal; raise --validation-share or --test-share, or use --split "
                          "leave-one-out")
    return first, second


def _kept(raw: RawInteractions, k_core: int, cuts: tuple[float, float] | None) -> np.ndarray:
    """Return which interactions stay, bool [N]: those of users and items in the k-core (of the training period)."""
    early = slice(None) if cuts is None or raw.times is None else raw.times < cuts[0]
    users, items = raw.users[early], raw.items[early]
    core = k_core_mask(users, items, k_core)
    if not core.any():
        n_users, n_items = (len(np.unique(codes)) for codes in (users, items))
        each = f" ({len(users) / n_users:.1f} a user, {len(users) / n_items:.1f} an item)" if len(users) else ""
        raise TslrecError(f"no interaction is left after the {k_core}-core of {n_users} users, {n_items} items and "
                          f"{len(users)} interactions{each}; lower --k-core")
    if cuts is None:
        return core
    has_user, has_item = (np.bincount(codes[core], minlength=len(ids)) > 0
                          for codes, ids in ((users, raw.user_ids), (items, raw.item_ids)))
    return has_user[raw.users] & has_item[raw.items]


def _renumbered(ids: Sequence[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the ids in use, numeric ones first and by value, and the codes renumbered from 0 accordingly."""
    in_use = np.flatnonzero(np.bincount(codes, minlength=len(ids)))
    names = [ids[code] for code in in_use.tolist()]
    order = _order_of_ids(names)
    rank = np.zeros(len(ids), np.int32)
    rank[in_use[order]] = np.arange(len(names), dtype=np.int32)
    return [names[place] for place in order.tolist()], rank[codes]


def _order_of_ids(names: Sequence[str]) -> np.ndarray:
    """Return the order of different ids, int64 [n]: numeric ones by length, then text, then the others by text.

    Texts are in the order of their bytes in UTF-8, without NUL, and these of numbers made of eight of them each.
    """
    lengths = np.fromiter((len(name) if name.isdecimal() else 0 for name in names), np.int64, len(names))
    group = np.where(lengths > 0, lengths, np.iinfo(np.int64).max)
    encoded = [name.encode() for name in names]
    longest = max(map(len, encoded), default=0)
    if longest > _LONGEST_IN_WORDS:
        return np.array(sorted(range(len(names)), key=lambda place: (group[place], names[place])), np.int64)
    width = max(1, -(-longest // 8))
    words = np.array(encoded, f"S{8 * width}").view(">u8").reshape(-1, width)  # [n, W]
    return np.lexsort((*words.T[::-1].astype(np.uint64), group))
