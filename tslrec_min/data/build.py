"""Raw interactions -> data set: k-core, order, numbering, and the cuts of the temporal split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import TslrecError
from .csr import offsets
from .dataset import Dataset
from .histories import Histories
from .interaction_rows import UserRows, k_core_of, taken
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
    rows = raw.by_user()
    kept, of_user, of_item = _kept(rows, k_core, cuts, len(raw.item_ids))
    user_ids, users = _ids_in_order(raw.user_ids, of_user)
    item_ids, items = _ids_in_order(raw.item_ids, of_item)
    unknown = [item for item in item_ids if item not in texts.titles]
    if unknown and not blank_titles:
        both = "" if unknown[0].isascii() else "; if it is there, the two files have different encodings: use the same"
        raise TslrecError(f"{len(unknown)} items of the histories are not in the items file, the first is "
                          f"{unknown[0]!r}; add their rows (a blank title is allowed), or give --missing-titles blank"
                          f"{both}")
    numbers = np.zeros(len(raw.item_ids), np.int32)
    numbers[items] = np.arange(1, len(items) + 1)
    indptr, histories, times = taken(rows, kept, of_user, users, numbers)
    return Dataset(Histories(indptr, histories), user_ids, item_ids,
                   [texts.titles.get(item, "") for item in item_ids], times,
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
    count = len(times)
    places = [min(count - round(share * count), count - 1) for share in (validation_share + test_share, test_share)]
    ordered = np.partition(times, [0, *places])
    first, second = (ordered[place].item() for place in places)
    if not ordered[0] < first < second:
        raise TslrecError(f"the times of {count} interactions can't be cut into shares of {validation_share} and "
                          f"{test_share}: too many are equal; raise --validation-share or --test-share, or use --split "
                          "leave-one-out")
    return first, second


def _kept(rows: UserRows, k_core: int, cuts: tuple[float, float] | None, n_items: int
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which interactions stay, bool [N], those of users and items in the k-core (of the training period).

    Also return how many stay of every user, int64 [U], and of every item (in the training period), int64 [I].
    """
    early = np.ones(len(rows.users), bool) if cuts is None or rows.times is None else rows.times < cuts[0]
    kept = early.copy()
    of_user, of_item = k_core_of(rows, kept, k_core, n_items)
    if not kept.any():
        count, n_users, n_items = (len(np.unique(codes[early])) for codes in (np.arange(len(early)), rows.users,
                                                                              rows.items))
        each = f" ({count / n_users:.1f} a user, {count / n_items:.1f} an item)" if count else ""
        raise TslrecError(f"no interaction is left after the {k_core}-core of {n_users} users, {n_items} items and "
                          f"{count} interactions{each}; lower --k-core")
    if cuts is not None:
        kept = np.repeat(of_user > 0, np.diff(rows.indptr)) & (of_item > 0)[rows.items]
        of_user = np.diff(offsets(kept)[rows.indptr])
    return kept, of_user, of_item


def _ids_in_order(ids: Sequence[str], counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the ids in use, given the counts of all, [n]: numeric ones first and by value; and their codes, int64."""
    codes = np.flatnonzero(counts)
    codes = codes[_order_of_ids([ids[code] for code in codes.tolist()])]
    return [ids[code] for code in codes.tolist()], codes


def _order_of_ids(names: Sequence[str]) -> np.ndarray:
    """Return the order of different ids, int64 [n]: numeric ones by length, then text, then the others by text.

    Texts are in the order of their bytes in UTF-8, without NUL, and these of numbers made of eight of them each.
    """
    lengths, numeric = np.array(list(map(len, names)), np.int64), np.array(list(map(str.isdecimal, names)), bool)
    group = np.where(numeric, lengths, np.iinfo(np.int64).max)
    encoded = list(map(str.encode, names))
    longest = max(map(len, encoded), default=0)
    if longest > _LONGEST_IN_WORDS:
        return np.array(sorted(range(len(names)), key=lambda place: (group[place], names[place])), np.int64)
    width = max(1, -(-longest // 8))
    words = np.array(encoded, f"S{8 * width}").view(">u8").reshape(-1, width)  # [n, W]
    keys = [key for key in (group, *words.T.astype(np.uint64)) if len(key) and (key != key[0]).any()]
    return np.lexsort(keys[::-1]) if keys else np.arange(len(names))
