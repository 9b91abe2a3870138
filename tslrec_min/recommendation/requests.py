"""Users and histories that recommendations are asked for, block by block: of a file, of standard input, or of Python.

In a file a history is a line: JSON ``{"user": "u1", "items": ["i3", "i7"]}`` or ``u1 i3 i7``, the oldest item first;
the first line says which of the two all are. Ids with white space need JSON. A user may come again: each line is
answered.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..data.csr import offsets
from ..data.dataset import Dataset, Histories
from ..data.raw.values import id_text, is_text
from ..errors import TslrecError, missing_path, some_of

_JSON_FORM = '{"user": "u1", "items": ["i3", "i7"]}'
AskedUser = tuple[str, str]
"""Where a user is named, for messages, and the external id."""
AskedHistory = tuple[str, str, list[str]]
"""Where a history stands, for messages, the user, and the external ids of its items, the oldest first."""


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

    def stored_blocks(self, asked: Iterable[AskedUser] | None, block_users: int) -> Iterator[HistoryBlock]:
        """Yield the whole stored histories of users: training, validation and test items.

        Args:
            asked: the users; None: all.
            block_users: most users in a block.

        Raises:
            TslrecError: a user is unknown and not to be skipped.
        """
        if asked is None:
            for start in range(0, self.dataset.n_users, block_users):
                yield self._stored(np.arange(start, min(start + block_users, self.dataset.n_users)))
            return
        numbers = {user: number for number, user in enumerate(self.dataset.user_ids)}
        remaining = iter(asked)
        while part := list(islice(remaining, block_users)):
            known = [self._user(numbers, user, where) for where, user in part]
            users = np.array([user for user in known if user is not None], np.int64)
            if len(users):
                yield self._stored(users)

    def given_blocks(self, asked: Iterable[AskedHistory], block_users: int) -> Iterator[HistoryBlock]:
        """Yield given histories.

        Args:
            asked: the histories.
            block_users: most histories in a block.

        Raises:
            TslrecError: a history has no item, or unknown items, and is not to be skipped.
        """
        numbers = {item: number for number, item in enumerate(self.dataset.item_ids, 1)}
        remaining = iter(asked)
        while part := list(islice(remaining, block_users)):
            known = [(user, self._items(numbers, items, where)) for where, user, items in part]
            kept = [(user, items) for user, items in known if items]
            if kept:
                flat = np.array([item for _, items in kept for item in items], np.int32)
                yield HistoryBlock([user for user, _ in kept],
                                   Histories(offsets([len(items) for _, items in kept]), flat))

    def _stored(self, users: np.ndarray) -> HistoryBlock:
        """Return the histories of users, int64 [B]."""
        return HistoryBlock([self.dataset.user_ids[user] for user in users], self.dataset.histories.take(users))

    def _user(self, numbers: dict[str, int], user: str, where: str) -> int | None:
        number = numbers.get(user)
        if number is None:
            if not self.skip_unknown:
                raise TslrecError(f"{where}: the data set has no user {user!r}; give its history with --histories, or "
                                  "leave unknown users out with --unknown skip")
            self.left_out.users += 1
        return number

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
    cold = set(dataset.cold.item_ids) if dataset.cold else set()
    held_out = f" ({sum(item in cold for item in different)} of them are held-out cold items)" if (
        cold.intersection(different)) else ""
    return f"the data set has no item {some_of(map(repr, different))}{held_out}"


def users_in(path: Path) -> Iterator[AskedUser]:
    """Yield the users of a file with an id a line or, for ``-``, of standard input.

    Raises:
        TslrecError: it can't be read.
    """
    for line, text in _lines(path):
        yield f"{_name(path)}, line {line}", text.strip()


def users_of(ids: Iterable[Any]) -> Iterator[AskedUser]:
    """Yield users that are named in Python, by texts or numbers.

    Raises:
        TslrecError: an id is neither text nor a number, or a text stands in place of a list.
    """
    if isinstance(ids, str):
        raise TslrecError(f"users is {ids!r}; expected a list of user ids")
    for place, user in enumerate(ids):
        where = f"users[{place}]"
        yield where, _id(user, where)


def histories_of(given: Mapping[Any, Iterable[Any]] | Iterable[Iterable[Any]]) -> Iterator[AskedHistory]:
    """Yield histories that are given in Python: user -> items, or lists of items, whose users are "0", "1", ...

    Raises:
        TslrecError: a history is no list of ids, or an id is neither text nor a number.
    """
    for user, items in given.items() if isinstance(given, Mapping) else enumerate(given):
        where = f"histories[{user!r}]"
        if isinstance(items, str | bytes) or not isinstance(items, Iterable):
            raise TslrecError(f"{where} is {items!r}; expected a list of item ids, the oldest first")
        yield where, _id(user, where), [_id(item, where) for item in items]


def _id(value: Any, where: str) -> str:
    try:
        return id_text(value)
    except ValueError as error:
        raise TslrecError(f"{where}: {error}; give ids as texts or numbers") from None


def histories_in(path: Path) -> Iterator[AskedHistory]:
    """Yield the histories of a file, JSON lines or ``user item item ...`` lines, or, for ``-``, of standard input.

    Raises:
        TslrecError: it, or one of its lines, can't be read.
    """
    as_json: bool | None = None
    for line, text in _lines(path):
        where = f"{_name(path)}, line {line}"
        as_json = _looks_like_json(text) if as_json is None else as_json
        if as_json:
            yield where, *_from_json(text, where)
        else:
            user, *items = text.split()
            form = "" if items else f"; expected a line such as u1 i3 i7 or {_JSON_FORM}"
            yield f"{where} (user {user[:80]!r}{form})", user, items


def _looks_like_json(text: str) -> bool:
    """Return whether a line is meant as JSON: an object, or a list, which is none of the forms and refused as such."""
    return text.lstrip().startswith("{") or (text.lstrip().startswith("[") and text.rstrip().endswith("]"))


def _from_json(text: str, where: str) -> tuple[str, list[str]]:
    try:
        value = json.loads(text)
        user, items = value["user"], value["items"]
    except (ValueError, KeyError, TypeError, RecursionError):
        user, items = None, None
    if not isinstance(items, list) or not all(type(name) in (str, int) for name in (user, *items)) or (
            not is_text(str(user))):
        raise TslrecError(f"{where}: expected a JSON object such as {_JSON_FORM}; got {text.strip()[:80]!r}")
    return str(user), [str(item) for item in items]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of every line that is not blank."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(path) == "-" else open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield number, text
    except FileNotFoundError:
        raise missing_path(path, "give a file, or - for standard input") from None
    except UnicodeDecodeError as error:
        raise TslrecError(f"{_name(path)}, line {number}: it is not UTF-8 ({error.reason})") from None


def _name(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)
