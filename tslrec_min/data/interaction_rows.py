"""Passes over all interactions, by the kernel `_interaction_rows`: order, repeated rows, k-core, lines of a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..runtime.validation import Int64Array, as_offsets, check_range
from . import _interaction_rows
from .csr import offsets

_LINES_ROOM = 1 << 20
"""Bytes of lines made at once; more if a line needs it."""


def rows_by_time(users: np.ndarray, times: np.ndarray | None) -> Int64Array:
    """Return the rows ordered by (user, time, row), int64 [N], as a stable sort would.

    Rows are first counted into users, in one pass, and then sorted by time within each.

    Args:
        users: integers [N], from 0.
        times: int64 or float64 [N], not NaN; None: rows are in time order.
    """
    return _grouped(users, _sortable(times, len(users)))[0]


def repeated_rows(users: np.ndarray, items: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return which rows have the user, item and time of an earlier row, bool [N].

    Args:
        users, items: integers [N], from 0.
        times: int64 or float64 [N], not NaN.
    """
    repeated = np.zeros(len(users), bool)
    if len(users):
        keys, items = _sortable(times, len(users)), _codes("items", items)
        order, indptr = _grouped(users, keys)
        _interaction_rows.repeated(order, indptr, keys, items, int(items.max()) + 1, repeated.view(np.uint8))
    return repeated


def k_core_mask(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Return which interactions stay, bool [N], when users and items with fewer than `k` are dropped repeatedly.

    Args:
        users, items: integers [N], from 0.
        k: minimum number of interactions.
    """
    kept = np.ones(len(users), bool)
    if len(users):
        users, items = _codes("users", users), _codes("items", items)
        _interaction_rows.core(users, items, k, np.bincount(users), np.bincount(items), kept.view(np.uint8))
    return kept


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


def _grouped(users: np.ndarray, keys: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the rows by (user, key, row), int64 [N], and where each user's begin, int64."""
    order, codes = np.empty(len(users), np.int64), _codes("users", users)
    indptr = np.zeros(int(codes.max(initial=-1)) + 2, np.int64)
    if len(users):
        _interaction_rows.order(codes, keys, indptr, order)
    return order, indptr


def _codes(name: str, codes: np.ndarray) -> np.ndarray:
    """Return codes as int32 [N]; ValueError if one is negative, which the kernels would follow out of their arrays."""
    if len(codes) and codes.min() < 0:
        raise ValueError(f"{name} has {codes.min()}; expected numbers from 0")
    return np.ascontiguousarray(codes, np.int32)


def _sortable(times: np.ndarray | None, count: int) -> Int64Array:
    """Return int64 [N] in the order of the times."""
    if times is None:
        return np.zeros(count, np.int64)
    if times.dtype.kind != "f":
        return np.ascontiguousarray(times, np.int64)
    bits = (np.ascontiguousarray(times, np.float64) + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)  # below 0 the bits of floats fall


def _joined(names: Sequence[str]) -> tuple[bytes, Int64Array]:
    """Return names in UTF-8, one after the other, and where each begins, int64 [n + 1]."""
    text = "".join(names)
    lengths = [len(name) if text.isascii() else len(name.encode()) for name in names]
    return text.encode() or b"\n", offsets(lengths)
