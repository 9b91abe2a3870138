"""JSON Lines, and the public review data in this format.

Forms, by their own documentation, recognised by the keys of the first line:

- Amazon 2014 (jmcauley.ucsd.edu/data/amazon: reviews_X.json.gz, reviews_X_5.json.gz; ``reviewerID``, ``asin``,
  ``overall``, ``unixReviewTime``) and its metadata (meta_X.json.gz: ``asin``, ``title``), whose lines are Python
  dictionaries, not JSON;
- Amazon 2018 (nijianmo.github.io/amazon: X.json.gz, X_5.json.gz, meta_X.json.gz): the same keys, all of it JSON;
- Amazon 2023 (amazon-reviews-2023.github.io: X.jsonl.gz with ``user_id``, ``parent_asin``, ``rating``, ``timestamp`` in
  milliseconds; meta_X.jsonl.gz with ``parent_asin``, ``title``);
- Yelp (yelp.com/dataset/documentation: review.json with ``user_id``, ``business_id``, ``stars``, ``date``;
  business.json with ``business_id``, ``name``);
- Steam (cseweb.ucsd.edu/~jmcauley/datasets.html): steam_reviews.json.gz (``username``, ``product_id``, ``hours``,
  ``date``), steam_games.json.gz (``id``, ``app_name``, ``title``), australian_user_reviews.json.gz (``user_id`` and a
  list ``reviews`` of ``item_id``, ``recommend``, ``posted``) and australian_users_items.json.gz (``user_id`` and a list
  ``items`` of ``item_id``, ``item_name``, ``playtime_forever``, without times), all Python dictionaries.

Such dictionaries are parsed by ``ast.literal_eval``, which runs no code, and only up to a maximum length.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...configs import PrepareConfig
from ...errors import TslrecError
from .rows import BadRows, Chunk, MissingColumns, Rows, flag_of
from .text import RawFile, text_lines

LONGEST_LITERAL = 1 << 20
"""Maximum length of a line that is a Python dictionary: parsing takes about 100 bytes per character."""
_CHUNK_ROWS = 1 << 13
_POSTED = re.compile(r"Posted ([A-Z][a-z]+) (\d{1,2}), (\d{4})\.?")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")


@dataclass(frozen=True)
class Form:
    """A form of public data."""

    format: str
    """Of the configuration."""
    marks: frozenset[str]
    """Keys that the first line of such a file has."""
    keys: Mapping[str, str | tuple[str, ...]]
    """The keys that the defaults of flags stand for, of several the first one with a value; other names are keys."""
    rows: str = ""
    """Key of a list of rows; empty: the line is the row."""
    per_second: int = 1
    """Units of time per second."""
    timed: bool = True
    """Whether rows have times."""


INTERACTION_FORMS = (
    Form("amazon", frozenset(("reviewerID", "asin")),
         {"user_id": "reviewerID", "item_id": "asin", "rating": "overall", "timestamp": "unixReviewTime"}),
    Form("amazon", frozenset(("user_id", "parent_asin", "timestamp")), {"item_id": "parent_asin"}, per_second=1000),
    Form("yelp", frozenset(("review_id", "business_id", "stars")),
         {"item_id": "business_id", "rating": "stars", "timestamp": "date"}),
    Form("steam", frozenset(("username", "product_id")),
         {"user_id": "username", "item_id": "product_id", "rating": "hours", "timestamp": "date"}),
    Form("steam", frozenset(("user_id", "reviews")), {"rating": "recommend", "timestamp": "posted"}, rows="reviews"),
    Form("steam", frozenset(("user_id", "items")), {"rating": "playtime_forever"}, rows="items", timed=False),
)
ITEM_FORMS = (
    Form("amazon", frozenset(("parent_asin",)), {"item_id": "parent_asin", "title": ("title", "name")}),
    Form("amazon", frozenset(("asin",)), {"item_id": "asin", "title": ("title", "name")}),
    Form("yelp", frozenset(("business_id", "name")), {"item_id": "business_id", "title": "name"}),
    Form("steam", frozenset(("user_id", "items")), {"title": "item_name"}, rows="items"),
    Form("steam", frozenset(("reviews_url",)), {"item_id": "id", "title": ("app_name", "title")}),
)
_PLAIN = Form("jsonl", frozenset(), {})


class JsonLines(Rows):
    """A file with a JSON object, or a Python dictionary, in every line."""

    file: RawFile

    def __init__(self, file: RawFile, first_row: Mapping[str, Any], form: Form, encoding: str) -> None:
        """Take a file; the names of its columns are the keys of the first row."""
        self.file, self.names, self.form, self.encoding = file, tuple(map(str, first_row)), form, encoding
        self.aliases = {name: (keys,) if isinstance(keys, str) else keys for name, keys in form.keys.items()}
        self.per_second, self.timed = form.per_second, form.timed

    def check(self, columns: Mapping[str, str]) -> None:
        """See `Rows.check`; the first row must have the keys, except in public data."""
        missing = [role for role, name in columns.items() if name and name not in self.names]
        if missing and self.form is _PLAIN:
            raise MissingColumns(f"the first line of {self.file}", self.names, columns, missing, kind="key")

    def chunks(self, columns: Mapping[str, str], bad: BadRows) -> Iterator[Chunk]:
        """See `Rows.chunks`; missing values are None, and lines that are no object are bad rows.

        Raises:
            TslrecError: also if no row has the key of a further text of items.
        """
        self.check(columns)
        keys = {role: self.aliases.get(name, (name,)) for role, name in columns.items() if name}
        absent = {name for role, name in columns.items() if flag_of(role, columns) == "--item-fields"}
        lines: list[int] = []
        values: dict[str, list[Any]] = {role: [] for role in keys}
        for line, row in self._rows():
            if isinstance(row, str):
                if not bad.skip:  # an earlier row may be bad too; the error names the first one
                    yield self._chunk(lines, values)
                bad.add(self.file, line, "not a JSON object", row)
                continue
            lines.append(line)
            if absent:
                absent.difference_update(row)
            for role, names in keys.items():
                values[role].append(next((row[name] for name in names if row.get(name) not in (None, "")), None))
            if len(lines) >= _CHUNK_ROWS:
                yield self._chunk(lines, values)
                lines, values = [], {role: [] for role in keys}
        yield self._chunk(lines, values)
        if absent:
            raise TslrecError(f"no line of {self.file} has a key for --item-fields {', '.join(sorted(absent))}; the "
                              f"keys of its first line are {', '.join(self.names)}")

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """Yield (line number, row), or an error message in place of a bad row."""
        for line, text in text_lines(self.file, self.encoding):
            try:
                row = parse_object(text)
            except ValueError as error:
                yield line, str(error)
                continue
            if not self.form.rows:
                yield line, row
                continue
            inner = row.get(self.form.rows)
            for member in inner if isinstance(inner, list) else [None]:
                yield line, {**row, **member} if isinstance(member, dict) else (
                    f"expected a list of JSON objects as {self.form.rows!r}; got {str(inner)[:60]}")

    def _chunk(self, lines: Sequence[int], values: dict[str, list[Any]]) -> Chunk:
        if self.form.rows == "reviews" and "time" in values:
            values = values | {"time": [_posted(value) for value in values["time"]]}
        return Chunk(lines, values)


def _posted(value: Any) -> Any:
    """Return the ISO date of ``Posted November 5, 2011.``; other values are unchanged, and are no times."""
    date = _POSTED.fullmatch(value) if isinstance(value, str) else None
    if not date or date[1] not in _MONTHS:
        return value
    return f"{date[3]}-{_MONTHS.index(date[1]) + 1:02}-{int(date[2]):02}"


def parse_object(text: str) -> dict[str, Any]:
    """Parse a line: a JSON object, or a Python dictionary of literals up to `LONGEST_LITERAL`.

    Raises:
        ValueError: it is neither.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _literal(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object; got {text[:60]!r}")
    return value


def _literal(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return None
    if len(text) > LONGEST_LITERAL:
        raise ValueError(f"it is not JSON, and too long for a Python dictionary ({len(text):,} characters; at most "
                         f"{LONGEST_LITERAL:,})")
    try:
        with warnings.catch_warnings():  # about unusual escapes and numbers
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def open_json_lines(file: RawFile, config: PrepareConfig, *, items: bool = False) -> JsonLines:
    """Find out the form of a file of JSON Lines from its first line.

    Args:
        file: of JSON Lines.
        config: encoding and format; the format ``jsonl`` renames no keys.
        items: whether it is a file of items, not of interactions.

    Raises:
        TslrecError: its first line can't be read.
    """
    encoding = config.encoding or "utf-8"
    line, text = next(text_lines(file, encoding), (0, ""))
    try:
        row = parse_object(text) if text else {}
    except ValueError as error:
        raise TslrecError(f"{file}, line {line}: {error}") from None
    forms = () if config.format == "jsonl" else ITEM_FORMS if items else INTERACTION_FORMS
    form = next((form for form in forms if form.marks <= row.keys()), _PLAIN)
    inner = row.get(form.rows) if form.rows else None
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        row = {**row, **inner[0]}
    return JsonLines(file, row, form, encoding)
