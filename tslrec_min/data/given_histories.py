"""Histories and user ids that are given to ``tslrec recommend``, read block by block from a file or standard input.

A history is a line: JSON ``{"user": "u1", "items": ["i3", "i7"]}`` or ``u1 i3 i7``, the oldest item first; the first
line says which of the two all are. Ids with white space need JSON. A user may come again: each line is answered.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import TslrecError
from .dataset import Dataset, Histories

_NAMED_IDS = 5


@dataclass
class LeftOut:
    """What ``--unknown skip`` has left out so far."""

    items: int = 0
    """Items of histories that the data set doesn't know."""
    users: int = 0
    """Users that the data set doesn't know, and histories in which it knows no item."""


@dataclass(frozen=True)
class HistoryBlock:
    """Histories that are answered at once."""

    user_ids: Sequence[str]
    """External ids, [B]."""
    histories: Histories
    """Of these users, in this order; each has at least one item."""


@dataclass(frozen=True)
class GivenIds:
    """Knows the ids of a data set, and what to do with others."""

    dataset: Dataset
    skip_unknown: bool = False
    """Leave unknown ids out and count them, instead of refusing them."""
    left_out: LeftOut = field(default_factory=LeftOut)

    def stored_blocks(self, path: Path | None, block_users: int) -> Iterator[HistoryBlock]:
        """Yield the whole stored histories of users: training, validation and test items.

        Args:
            path: file with a user id a line, ``-`` for standard input, or None for all users.
            block_users: most users in a block.

        Raises:
            TslrecError: the file can't be read, or a user is unknown and not to be skipped.
        """
        stored = self.dataset.histories
        if path is None:
            for start in range(0, self.dataset.n_users, block_users):
                yield self._stored(np.arange(start, min(start + block_users, self.dataset.n_users)), stored)
            return
        numbers = {user: number for number, user in enumerate(self.dataset.user_ids)}
        lines = iter(_lines(path))
        while part := list(islice(lines, block_users)):
            found = [self._user(numbers, text, f"{_name(path)}, line {line}") for line, text in part]
            users = np.array([user for user in found if user is not None], np.int64)
            if len(users):
                yield self._stored(users, stored)

    def given_blocks(self, path: Path, block_users: int) -> Iterator[HistoryBlock]:
        """Yield the histories of a file or, for ``-``, of standard input.

        Args:
            path: JSON lines or ``user item item ...`` lines.
            block_users: most histories in a block.

        Raises:
            TslrecError: a line can't be read, has no item, or has unknown items that are not to be skipped.
        """
        numbers = {item: number for number, item in enumerate(self.dataset.item_ids, 1)}
        lines = iter(_histories(path))
        while part := list(islice(lines, block_users)):
            known = [(user, self._items(numbers, items, where)) for where, user, items in part]
            kept = [(user, items) for user, items in known if items]
            if kept:
                indptr = np.concatenate([[0], np.cumsum([len(items) for _, items in kept])]).astype(np.int64)
                flat = np.array([item for _, items in kept for item in items], np.int32)
                yield HistoryBlock([user for user, _ in kept], Histories(indptr, flat))

    def _stored(self, users: np.ndarray, stored: Histories) -> HistoryBlock:
        """Return the histories of users, int64 [B]."""
        starts, lengths = stored.indptr[users], np.diff(stored.indptr)[users]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
        return HistoryBlock([self.dataset.user_ids[user] for user in users], Histories(indptr, stored.items[places]))

    def _user(self, numbers: dict[str, int], text: str, where: str) -> int | None:
        user = numbers.get(text.strip())
        if user is None:
            if not self.skip_unknown:
                raise TslrecError(f"{where}: the data set has no user {text.strip()!r}; give its history with "
                                  "--histories, or leave unknown users out with --unknown skip")
            self.left_out.users += 1
        return user

    def _items(self, numbers: dict[str, int], items: Sequence[str], where: str) -> list[int]:
        known = [numbers[item] for item in items if item in numbers]
        if not self.skip_unknown and len(known) < len(items):
            raise TslrecError(f"{where}: {_unknown_items(self.dataset, [i for i in items if i not in numbers])}; take "
                              "them out, or leave unknown items out with --unknown skip")
        if not self.skip_unknown and not items:
            raise TslrecError(f"{where}: the history has no item; give at least one, or leave such users out with "
                              "--unknown skip")
        self.left_out.items += len(items) - len(known)
        self.left_out.users += not known
        return known


def _unknown_items(dataset: Dataset, unknown: Sequence[str]) -> str:
    different = list(dict.fromkeys(unknown))
    more = f" and {len(different) - _NAMED_IDS} more" if len(different) > _NAMED_IDS else ""
    cold = set(dataset.cold.item_ids) if dataset.cold else set()
    held_out = f" ({sum(item in cold for item in different)} of them are held-out cold items)" if (
        cold.intersection(different)) else ""
    return f"the data set has no item {', '.join(map(repr, different[:_NAMED_IDS]))}{more}{held_out}"


def _histories(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield where it stands, the user and the items of every history."""
    as_json: bool | None = None
    for line, text in _lines(path):
        where = f"{_name(path)}, line {line}"
        as_json = text.lstrip().startswith("{") if as_json is None else as_json
        if as_json:
            yield where, *_from_json(text, where)
        else:
            user, *items = text.split()
            yield where, user, items


def _from_json(text: str, where: str) -> tuple[str, list[str]]:
    try:
        value = json.loads(text)
        user, items = value["user"], value["items"]
    except (ValueError, KeyError, TypeError, RecursionError):
        user, items = None, None
    if not isinstance(items, list) or not all(type(name) in (str, int) for name in (user, *items)) or (
            not _is_text(str(user))):
        raise TslrecError(f"{where}: expected a JSON object such as {{\"user\": \"u1\", \"items\": [\"i3\", \"i7\"]}}; "
                          f"got {text.strip()[:80]!r}")
    return str(user), [str(item) for item in items]


def _is_text(name: str) -> bool:
    """Return whether a text can be written: JSON can have half of a pair of surrogates."""
    return name.encode(errors="replace").decode() == name


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of every line that is not blank."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(path) == "-" else open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield number, text
    except FileNotFoundError:
        raise TslrecError(f"{path} does not exist; give a file, or - for standard input") from None
    except UnicodeDecodeError as error:
        raise TslrecError(f"{_name(path)}, line {number}: it is not UTF-8 ({error.reason})") from None


def _name(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)
