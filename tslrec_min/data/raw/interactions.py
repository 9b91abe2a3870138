"""Interactions, collected chunk by chunk from rows of any format.

Ids become integer codes while they are read, so a row takes 16 bytes whatever its ids and its format.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ...configs import PrepareConfig
from ...errors import TslrecError
from ...runtime.background import begun
from ..interaction_rows import UserRows, repeated_rows, rows_by_user
from .ascii_columns import Cells
from .codes import ColumnCodes
from .rows import BadRows, Chunk
from .values import brief, can_be_id, id_text, parse_time, time_window


@dataclass
class RawInteractions:
    """Interactions in input order, as read."""

    user_ids: Sequence[str]
    """External ids by code; some may have no interaction."""
    item_ids: Sequence[str]
    """As `user_ids`."""
    users: np.ndarray
    """int32 [N], codes."""
    items: np.ndarray
    """int32 [N], codes."""
    times: np.ndarray | None = None
    """int64 or float64 [N]; None: the input is in time order."""
    below_min_rating: int = 0
    """Rows left out by ``min_rating``."""
    outside_window: int = 0
    """Rows left out by ``from_time`` and ``until_time``."""
    bad_rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Rows left out because they are bad, see `BadRows.reasons`."""
    duplicates: int = 0
    """Rows left out because an earlier one has the same user, item and time."""
    ordered: UserRows | None = None
    """The same rows in the order of users and times, once `by_user` has made them."""

    def by_user(self) -> UserRows:
        """Return the rows in the order of (user, time, input)."""
        return self.ordered or rows_by_user(self.users, self.items, self.times, len(self.user_ids))

    def without_duplicates(self) -> RawInteractions:
        """Keep the first row of each user, item and time, in the order of `by_user`; without times keep every row."""
        rows = self.by_user()
        repeated = repeated_rows(rows)
        count = int(np.count_nonzero(repeated))
        rows = rows.where(~repeated) if count else rows
        return replace(self, users=rows.users, items=rows.items, times=rows.times, ordered=rows,
                       duplicates=self.duplicates + count)


class Collector:
    """Takes rows in chunks and turns them into `RawInteractions`."""

    def __init__(self, where: object, config: PrepareConfig, *, timed: bool, per_second: int = 1) -> None:
        """Start without rows.

        Args:
            where: the file, for messages.
            config: minimum rating, time window, and what to do with bad rows.
            timed: whether rows have times.
            per_second: units per second of times that are numbers.

        Raises:
            TslrecError: a bound of the time window is no time.
        """
        self.where, self.config, self.timed, self.per_second = where, config, timed, per_second
        self.bad = BadRows(skip=config.on_bad_row == "skip")
        self.below_min_rating = self.outside_window = 0
        self.window = time_window(config)
        if self.window and not timed:
            raise TslrecError("--from-time and --until-time need a column of times; this input has none")
        self.users, self.items = ColumnCodes(), ColumnCodes()
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(self, chunk: Chunk) -> None:
        """Add rows; bad ones are found by halving.

        Raises:
            TslrecError: a row is bad and not to be skipped.
        """
        if not len(chunk):
            return
        try:
            self._encode(chunk)
        except (ValueError, TypeError, OverflowError):
            if len(chunk) == 1:
                reason, detail = self._trouble(chunk)
                self.bad.add(self.where, chunk.lines[0], reason, detail)
                return
            is_first_half = np.arange(len(chunk)) < len(chunk) // 2
            self.add(chunk.where(is_first_half))
            self.add(chunk.where(~is_first_half))

    def _encode(self, chunk: Chunk) -> None:
        """Add rows if all are good, else raise and add none."""
        n_rows = len(chunk)
        if self.config.min_rating is not None:
            column = chunk.columns["rating"]
            ratings = column.decimals() if isinstance(column, Cells) else None
            if ratings is None:
                ratings = np.fromiter(map(float, column), np.float64, n_rows)
            chunk = chunk.where(ratings >= self.config.min_rating)  # NaN is below too
        n_rated = len(chunk)
        times = self._times(chunk)
        if self.window and times is not None:
            kept = (times >= self.window[0]) & (times < self.window[1])
            chunk, times = chunk.where(kept), times[kept]
        users, items = self._users_and_items(chunk)
        self._parts.append((users, items) if times is None else (users, items, times))
        self.below_min_rating += n_rows - n_rated
        self.outside_window += n_rated - len(chunk)

    def _users_and_items(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """Return the codes of both, int32 [n] each; columns of bytes are looked up at the same time."""
        if not all(isinstance(chunk.columns[role], Cells) for role in ("user", "item")):
            return self._codes(chunk, "user"), self._codes(chunk, "item")
        known = len(self.items)
        items = begun(partial(self._codes, chunk, "item"))
        try:
            users = self._codes(chunk, "user")
        except ValueError:  # then no item of these rows counts
            with contextlib.suppress(ValueError):
                items()
            self.items.truncate(known)
            raise
        return users, items()

    def _codes(self, chunk: Chunk, role: str) -> np.ndarray:
        values, codes = chunk.columns[role], self.users if role == "user" else self.items
        return codes.look_up(values if chunk.is_text or isinstance(values, Cells) else map(id_text, values))

    def _times(self, chunk: Chunk) -> np.ndarray | None:
        if not self.timed:
            return None
        column = chunk.columns["time"]
        times = _numbers(column, whole=self.per_second == 1) if isinstance(column, Cells) else None
        if times is None and chunk.is_text:
            with contextlib.suppress(ValueError, OverflowError):
                times = np.fromiter(map(int, column), np.int64, len(chunk))
        if times is not None:
            return times if self.per_second == 1 else times / self.per_second
        return np.array([parse_time(value, self.per_second) for value in column], None if len(chunk) else np.int64)

    def _trouble(self, chunk: Chunk) -> tuple[str, str]:
        """Return what is wrong with the only row of a chunk: the reason and the detail for `BadRows.add`."""
        row = {role: next(iter(values)) for role, values in chunk.columns.items()}
        if self.config.min_rating is not None:
            try:
                float(row["rating"])
            except (ValueError, TypeError, OverflowError):
                return "rating is not a number", f"rating {brief(row['rating'])} is not a number"
        if self.timed:
            try:
                parse_time(row["time"])
            except ValueError as error:
                return "time can't be read", str(error)
        for role in ("user", "item"):
            try:
                name = id_text(row[role])
            except ValueError as error:
                return "id is neither text nor a number", f"{role} id {error}"
            if name and not can_be_id(name):
                return "id holds a tab or a line break", (f"{role} id {brief(name)} holds a tab or a line break, a NUL "
                                                          "character or half of a pair; rename it in the input")
        return "user or item id is empty", "the user or item id is empty"

    def finish(self) -> RawInteractions:
        """Return all rows; call it once."""
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)] or [
            np.empty(0, np.int32)] * 2
        self._parts.clear()
        users, items, *times = columns
        return RawInteractions(self.users.names(), self.items.names(), users, items, times[0] if times else None,
                               self.below_min_rating, self.outside_window, self.bad.reasons)


def _numbers(column: Cells, *, whole: bool) -> np.ndarray | None:
    """Return the times of a column, int64 [n], or float64 if one is a fraction (or not `whole`); None if not plain."""
    values = column.integers()
    if values is None:
        values = column.decimals()
        if whole and values is not None and (values == np.floor(values)).all():
            values = values.astype(np.int64)
    return values
