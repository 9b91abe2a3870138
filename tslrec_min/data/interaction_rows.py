"""Passes over all interactions, by the kernel `_interaction_rows`: order, repeated rows, k-core, lines of a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runtime.device import usable_processors
from ..runtime.validation import Int64Array, as_offsets, check_range
from . import _interaction_rows
from .csr import offsets

_LINES_ROOM = 1 << 20
"""Bytes of lines made at once; more if a line needs it."""
_ROWS_OF_THREAD = 1 << 14
"""Rows that are worth waking a thread."""
_MOST_THREADS = 16
"""More would wait for the memory."""


@dataclass(frozen=True)
class UserRows:
    """Interactions in the order of (user, time, input)."""

    indptr: Int64Array
    """int64 [U + 1]: the rows of user u are ``indptr[u]:indptr[u + 1]``."""
    users: np.ndarray
    """int32 [N], from 0."""
    items: np.ndarray
    """int32 [N], from 0."""
    times: np.ndarray | None
    """int64 or float64 [N]; None: the input is in time order."""

    def where(self, kept: np.ndarray) -> UserRows:
        """Return the rows of a mask, bool [N]."""
        users, items = self.users[kept], self.items[kept]
        return UserRows(offsets(np.bincount(users, minlength=len(self.indptr) - 1)), users, items,
                        None if self.times is None else self.times[kept])


def rows_by_user(users: np.ndarray, items: np.ndarray, times: np.ndarray | None, n_users: int) -> UserRows:
    """Return rows ordered by (user, time, row), as a stable sort would order them.

    They are first put into buckets of neighbouring users, which fit into a cache, and then sorted within each; threads
    share the rows, then the buckets. Of floats -0.0 becomes 0.0.

    Args:
        users: integers [N], in 0..n_users - 1.
        items: integers [N], from 0.
        times: int64 or float64 [N], not NaN; None: rows are in time order.
        n_users: number of users U.

    Raises:
        ValueError: a code is negative, or a user beyond `n_users`.
    """
    users, items, count = _codes("users", users, n_users), _codes("items", items), len(users)
    keys = None if times is None else _keys(times)
    indptr = np.zeros(n_users + 1, np.int64)
    users_out, items_out = np.empty((2, count), np.int32)
    ordered = None if keys is None else np.empty(count, np.int64)
    if count:
        room = np.empty((count, 2), np.int64)
        _interaction_rows.by_user(users, items, keys, users_out, items_out, ordered, indptr, room,
                                  threads_for_rows(count))
    times = times if times is None or ordered is None else _times(ordered, times.dtype)
    return UserRows(indptr, users_out, items_out, times)


def repeated_rows(rows: UserRows) -> np.ndarray:
    """Return which rows have the user, item and time of an earlier row, bool [N]; without times none has."""
    repeated = np.zeros(len(rows.users), bool)
    if len(repeated) and rows.times is not None:
        _interaction_rows.repeated(rows.users, rows.items, _keys(rows.times), int(rows.items.max()) + 1,
                                   repeated.view(np.uint8))
    return repeated


def k_core_of(rows: UserRows, kept: np.ndarray, k: int, n_items: int) -> tuple[Int64Array, Int64Array]:
    """Drop users and items with fewer than `k` rows, repeatedly.

    Args:
        rows: of all users.
        kept: bool [N], the rows to begin with; those that are dropped become false.
        k: minimum number of interactions.
        n_items: number of items I; all are in 0..I - 1.

    Returns:
        The numbers of rows that are left of every user, int64 [U], and item, int64 [I].
    """
    user_counts, item_counts = np.zeros(len(rows.indptr) - 1, np.int64), np.zeros(n_items, np.int64)
    if len(rows.items):
        check_range("items", rows.items, 0, n_items - 1)
        _interaction_rows.core(rows.indptr, rows.items, k, user_counts, item_counts, kept.view(np.uint8))
    return user_counts, item_counts


def taken(rows: UserRows, kept: np.ndarray, counts: np.ndarray, users: np.ndarray, numbers: np.ndarray
          ) -> tuple[Int64Array, np.ndarray, np.ndarray | None]:
    """Return the kept rows of some users, in the order of these users.

    Args:
        rows: of all users.
        kept: bool [N].
        counts: int64 [U], the numbers of kept rows of every user.
        users: int64 [V].
        numbers: int32 [I], new numbers of items.

    Returns:
        Where the rows of each user begin, int64 [V + 1], the items' numbers, int32 [M], and the times, [M], or None.
    """
    indptr, times = offsets(counts[users]), rows.times
    count = int(indptr[-1])
    items, ordered = np.empty(count, np.int32), None if times is None else np.empty(count, times.dtype)
    if count:
        check_range("items", rows.items, 0, len(numbers) - 1)
        _interaction_rows.taken(rows.indptr, rows.items, None if times is None else times.view(np.int64),
                                kept.view(np.uint8), users, numbers, indptr, items,
                                None if ordered is None else ordered.view(np.int64), threads_for_rows(count))
    return indptr, items, ordered


def lines_of_split(user_ids: Sequence[str], item_ids: Sequence[str], indptr: np.ndarray, items: np.ndarray,
                   ends: np.ndarray) -> Iterator[memoryview]:
    r"""Yield the UTF-8 text of a split, in pieces: for every user ``user\titem item\titem ...\n``, a tab before a part.

    A piece is valid until the next one is made.

    Args:
        user_ids: [U].
        item_ids: [I].
        indptr: int64 [U + 1], rows of the histories.
        items: int32 [N], internal ids 1..I.
        ends: int64 [U, P], where the P parts of each history end, counted from its begin.

    Raises:
        ValueError: an id is not in 1..I, or the ends do not rise within the histories.
    """
    indptr, ends = as_offsets("indptr", indptr, len(items)), np.ascontiguousarray(ends, np.int64)
    check_range("items", items, 1, len(item_ids))
    if (np.diff(ends, axis=1, prepend=0) < 0).any() or (ends[:, -1] > np.diff(indptr)).any():
        raise ValueError("the ends of parts do not rise within the histories")
    items = np.ascontiguousarray(items, np.int32) if len(items) else np.ones(1, np.int32)
    (user_text, user_offsets), (item_text, item_offsets) = _joined(user_ids), _joined(item_ids)
    room = np.empty(_LINES_ROOM, np.uint8)
    user = 0
    while user < len(user_ids):
        following, written = _interaction_rows.lines_of_split(user_text, user_offsets, item_text, item_offsets, items,
                                                              indptr, ends, user, room)
        if following == user:
            room = np.empty(2 * len(room), np.uint8)
        else:
            yield memoryview(room)[:written]  # type: ignore[arg-type] # NumPy arrays are buffers
        user = following


def threads_for_rows(count: int) -> int:
    """Return the number of threads for passes over this many rows: one if they are few."""
    return min(usable_processors(), _MOST_THREADS, 1 + count // _ROWS_OF_THREAD)


def _codes(name: str, codes: np.ndarray, number: int | None = None) -> np.ndarray:
    """Return codes as int32 [N]; ValueError if the kernels would follow one out of their arrays."""
    if len(codes):
        check_range(name, codes, 0, 2**31 - 1 if number is None else number - 1)
    return np.ascontiguousarray(codes, np.int32)


def _keys(times: np.ndarray) -> Int64Array:
    """Return int64 [N] in the order of the times."""
    if times.dtype.kind != "f":
        return np.ascontiguousarray(times, np.int64)
    bits = (np.ascontiguousarray(times, np.float64) + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)  # below 0 the bits of floats fall


def _times(keys: Int64Array, dtype: np.dtype[Any]) -> np.ndarray:
    """Return the times that these are the keys of."""
    return np.where(keys < 0, keys ^ np.int64(2**63 - 1), keys).view(np.float64) if dtype.kind == "f" else keys


def _joined(names: Sequence[str]) -> tuple[bytes, Int64Array]:
    """Return names in UTF-8, one after the other, and where each begins, int64 [n + 1]."""
    text = "".join(names)
    lengths = list(map(len, names if text.isascii() else map(str.encode, names)))
    return text.encode() or b"\n", offsets(lengths)
