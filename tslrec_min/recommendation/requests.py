"""Users and histories to recommend for, from a file, standard input or Python, in blocks.

In a file a history is one line: JSON ``{"user": "u1", "items": ["i3", "i7"]}`` or ``u1 i3 i7``, the oldest item first;
the first line decides the form of all lines. Ids with white space need JSON. A user may have several lines.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..data.csr import offsets
from ..data.dataset import Dataset, Histories
from ..data.raw.values import id_text, is_text
from ..errors import TslrecError, missing_path, some_of

_T = TypeVar("_T")
_JSON_FORM = '{"user": "u1", "items": ["i3", "i7"]}'
AskedUser = tuple[str, str]
"""Where the user is named, for messages, and the external id."""
AskedHistory = tuple[str, str, list[str]]
"""Where the history is given, for messages, the user, and the external ids of the items, the oldest first."""
HistoryBlock = tuple[Sequence[str], Histories]
"""External user ids, [B], and these users' histories, each with at least one item."""


@dataclass
class LeftOut:
    """Numbers of ids that ``--unknown skip`` has left out."""

    items: int = 0
    """Unknown items of histories."""
    users: int = 0
    """Unknown users, and histories without a known item."""


@dataclass(frozen=True)
class GivenIds:
    """Finds given ids in a data set."""

    dataset: Dataset
    skip_unknown: bool = False
    """Leave out and count unknown ids instead of refusing them."""
    left_out: LeftOut = field(default_factory=LeftOut)

    def stored_blocks(self, asked: Iterable[AskedUser] | None, block_users: int) -> Iterator[HistoryBlock]:
        """Yield the stored histories, validation and test items included, of users; None: of all users.

        Raises:
            TslrecError: a user is unknown and not to be skipped.
        """
        if asked is None:
            parts = _parts(range(self.dataset.n_users), block_users)
        else:
            numbers = {user: number for number, user in enumerate(self.dataset.user_ids)}
            found = ([self._user(numbers, user, where) for where, user in part] for part in _parts(asked, block_users))
            parts = ([user for user in part if user is not None] for part in found)
        for users in filter(None, parts):
            yield ([self.dataset.user_ids[user] for user in users],
                   self.dataset.histories.take(np.array(users, np.int64)))

    def given_blocks(self, asked: Iterable[AskedHistory], block_users: int) -> Iterator[HistoryBlock]:
        """Yield given histories.

        Raises:
            TslrecError: a history has no item, or unknown items, and is not to be skipped.
        """
        numbers = {item: number for number, item in enumerate(self.dataset.item_ids, 1)}
        for part in _parts(asked, block_users):
            known = [(user, self._items(numbers, items, where)) for where, user, items in part]
            kept = [(user, items) for user, items in known if items]
            if kept:
                flat = np.array([item for _, items in kept for item in items], np.int32)
                yield [user for user, _ in kept], Histories(offsets([len(items) for _, items in kept]), flat)

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
            unknown = _unknown_items(self.dataset, [item for item in items if item not in numbers])
            raise TslrecError(f"{where}: {unknown}; remove them, or leave out unknown items with --unknown skip")
        if not self.skip_unknown and not items:
            raise TslrecError(f"{where}: the history has no item; give at least one, or leave out such users with "
                              "--unknown skip")
        self.left_out.items += len(items) - len(known)
        self.left_out.users += not known
        return known


def _parts(values: Iterable[_T], length: int) -> Iterator[list[_T]]:
    """Yield lists of at most `length` values."""
    remaining = iter(values)
    while part := list(islice(remaining, length)):
        yield part


def _unknown_items(dataset: Dataset, unknown: Sequence[str]) -> str:
    different = list(dict.fromkeys(unknown))
    n_cold = len(set(different).intersection(dataset.cold.item_ids)) if dataset.cold else 0
    held_out = f" ({n_cold} of them are held-out cold items)" if n_cold else ""
    return f"the data set has no item {some_of(map(repr, different))}{held_out}"


def users_in(path: Path) -> Iterator[AskedUser]:
    """Yield the users in a file, or, for ``-``, in standard input, one id per line.

    Raises:
        TslrecError: the file can't be read.
    """
    for where, text in _lines(path):
        yield where, text.strip()


def users_of(ids: Iterable[Any]) -> Iterator[AskedUser]:
    """Yield users given in Python.

    Raises:
        TslrecError: an id is neither a text nor a number, or `ids` is a text.
    """
    if isinstance(ids, str):
        raise TslrecError(f"users is {ids!r}; expected a list of user ids")
    for place, user in enumerate(ids):
        where = f"users[{place}]"
        yield where, _id(user, where)


def histories_of(given: Mapping[Any, Iterable[Any]] | Iterable[Iterable[Any]]) -> Iterator[AskedHistory]:
    """Yield histories given in Python: user -> items, or lists of items of the users "0", "1", ...

    Raises:
        TslrecError: a history is not a list of ids, or an id is neither a text nor a number.
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
    """Yield the histories in a file, or, for ``-``, in standard input.

    Raises:
        TslrecError: the file or one of its lines can't be read.
    """
    as_json: bool | None = None
    for where, text in _lines(path):
        if as_json is None:  # a list counts as JSON, to be refused as such
            as_json = text.lstrip().startswith("{") or (text.strip()[0], text.strip()[-1]) == ("[", "]")
        if as_json:
            yield where, *_from_json(text, where)
        else:
            user, *items = text.split()
            form = "" if items else f"; expected a line such as u1 i3 i7 or {_JSON_FORM}"
            yield f"{where} (user {user[:80]!r}{form})", user, items


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


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place, for messages, and the text of every line that is not blank."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(path) == "-" else open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield f"{name}, line {number}", text
    except FileNotFoundError:
        raise missing_path(path, "give a file, or - for standard input") from None
    except UnicodeDecodeError as error:
        raise TslrecError(f"{name}, line {number}: it is not UTF-8 ({error.reason}); save it as UTF-8") from None
