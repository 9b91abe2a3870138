"""Readers of raw formats: RecBole atomic files, CSV/TSV, MovieLens ``.dat``, sequence files.

Formats by their own documentation: RecBole atomic files (recbole.io, "Data: Atomic Files"), MovieLens 1M
(README of ml-1m: ``UserID::MovieID::Rating::Timestamp``, latin-1), and the "sequences" form of S3-Rec
(``user item item ...`` a line, in time order).
"""

from __future__ import annotations

import contextlib
import csv
import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ..configs import FORMATS, PrepareConfig
from ..errors import TslrecError

_TITLE_COLUMNS = ("title", "movie_title", "name", "item_name", "product_title")
_TYPED_SUFFIXES = (".inter", ".item")


@dataclass
class RawInteractions:
    """Interactions in input order, as read."""

    users: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """One per interaction (ints stay ints), or empty: the input is in time order."""
    below_min_rating: int = 0
    """Rows left out by ``min_rating``."""


@dataclass
class RawItems:
    """Texts of items, as read: HTML entities unescaped, white space in one form."""

    titles: dict[str, str] = field(default_factory=dict)
    """Item id -> title."""
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name of a further column -> item id -> its text."""
    unescaped: set[str] = field(default_factory=set)
    """Items in whose texts HTML entities were unescaped."""


@dataclass(frozen=True)
class Source:
    """The files of a raw data set."""

    format: str
    interactions: Path
    items: Path | None


def find_source(path: Path, items: Path | None, config: PrepareConfig) -> Source:
    """Find the files and the format of a raw data set.

    Args:
        path: a file of interactions, or a folder with exactly one.
        items: the file with titles, or None to look for it beside the interactions.
        config: its ``format`` may be ``auto``.

    Raises:
        TslrecError: nothing usable is there.
    """
    path = Path(path)
    if not path.exists():
        raise TslrecError(f"{path} does not exist; give a file of interactions or a folder that holds one")
    if items is not None and not items.is_file():
        raise TslrecError(f"items file {items} does not exist")
    file = _only_interactions_file(path) if path.is_dir() else path
    found = _format_of(file) if config.format == "auto" else config.format
    return Source(found, file, items or _items_beside(file))


def _only_interactions_file(folder: Path) -> Path:
    for pattern in ("*.inter", "ratings.dat", "sequences.txt", "interactions.csv", "interactions.tsv",
                    "ratings.csv"):
        files = sorted(folder.glob(pattern))
        if len(files) > 1:
            raise TslrecError(f"{folder} holds {len(files)} files {pattern}; give one of them")
        if files:
            return files[0]
    raise TslrecError(f"{folder} holds no .inter file, ratings.dat, sequences.txt, interactions.csv/.tsv or "
                      "ratings.csv; give the file of interactions itself")


def _format_of(file: Path) -> str:
    if file.suffix == ".inter":
        return "recbole"
    if file.suffix == ".dat":
        return "movielens"
    if file.suffix in (".csv", ".tsv"):
        return "csv"
    if file.suffix == ".txt":
        return "sequences"
    raise TslrecError(f"the format of {file} is not clear from its name; say it with --format "
                      f"{', '.join(FORMATS[1:])}")


def _items_beside(file: Path) -> Path | None:
    candidates = (file.with_suffix(".item"), file.parent / "items.tsv", file.parent / "items.csv",
                  file.parent / "movies.dat", file.parent / "movies.csv")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_interactions(source: Source, config: PrepareConfig) -> RawInteractions:
    """Read the interactions of a source.

    Raises:
        TslrecError: a column is missing or a row can't be read; names the file and the line.
    """
    if source.format == "sequences":
        return _read_sequences(source.interactions, config)
    raw = RawInteractions()
    columns = {"user": config.user_column, "item": config.item_column, "time": config.time_column,
               "rating": config.rating_column if config.min_rating is not None else ""}
    for line, row in _rows(source.interactions, config, columns):
        if config.min_rating is not None and not _number(
                row["rating"], source.interactions, line) >= config.min_rating:  # NaN is below too
            raw.below_min_rating += 1
            continue
        if not row["user"] or not row["item"]:
            raise TslrecError(f"{source.interactions}, line {line}: the user or item id is empty")
        raw.users.append(row["user"])
        raw.items.append(row["item"])
        if config.time_column:
            raw.times.append(_time(row["time"], source.interactions, line))
    return raw


def _read_sequences(path: Path, config: PrepareConfig) -> RawInteractions:
    raw = RawInteractions()
    for line, text in _text_lines(path, config.encoding or "utf-8-sig"):
        user, *items = text.split()
        if not items:
            raise TslrecError(f"{path}, line {line}: expected `user item item ...`; got {text!r}")
        raw.users.extend([user] * len(items))
        raw.items.extend(items)
    return raw


def read_items(path: Path, config: PrepareConfig) -> RawItems:
    """Read the titles and the further columns of ``item_fields`` from ``.item``, ``movies.dat``, CSV or TSV.

    Raises:
        TslrecError: a column is missing, a row can't be read, or an item has two titles or two texts in a column.
    """
    title_column = config.title_column or _title_column(path, config)
    names = item_field_names(config)
    raw = RawItems(fields={name: {} for name in names})
    texts_of = {"title": raw.titles, **raw.fields}
    columns = {"item": config.item_column, "title": title_column, **{name: name for name in names}}
    for line, row in _rows(path, config, columns):
        item = row["item"]
        for name, texts in texts_of.items():
            text = " ".join(html.unescape(row[name]).split())
            if html.unescape(row[name]) != row[name]:
                raw.unescaped.add(item)
            if texts.setdefault(item, text) != text:
                raise TslrecError(f"{path}, line {line}: item {item!r} has a second {name} {text!r}; "
                                  f"the first was {texts[item]!r}")
    return raw


def item_field_names(config: PrepareConfig) -> tuple[str, ...]:
    """Return the names in ``item_fields``.

    Raises:
        TslrecError: one is empty, there twice, or the name of a column that every data set has.
    """
    names = tuple(name.strip() for name in config.item_fields.split(",")) if config.item_fields.strip() else ()
    if "" in names or len(set(names)) < len(names):
        raise TslrecError(f"--item-fields {config.item_fields!r} has an empty name or one twice; expected names of "
                          "columns, separated by commas")
    taken = [name for name in names if name in ("item", "item_id", "title", config.item_column)]
    if taken:
        raise TslrecError(f"--item-fields names {', '.join(taken)}, which the data set has anyway; name further "
                          "columns only")
    return names


def _title_column(path: Path, config: PrepareConfig) -> str:
    if path.suffix == ".dat":
        return "title"
    _, header = next(_table(path, config), (0, []))
    for name in _TITLE_COLUMNS:
        if name in header:
            return name
    raise TslrecError(f"{path} has no column {', '.join(_TITLE_COLUMNS)}; it has {', '.join(header)}; "
                      "name the title's with --title-column")


def _rows(path: Path, config: PrepareConfig, columns: dict[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, role -> text) for the named columns; a role with an empty name is left out."""
    table = _table(path, config)
    _, header = next(table, (0, []))
    wanted = {role: name for role, name in columns.items() if name}
    missing = [f"--item-fields {name}" if role == name else f"--{role}-column {name}"
               for role, name in wanted.items() if name not in header]
    if missing:
        raise TslrecError(f"{path} has no column for {', '.join(missing)}; its columns are "
                          f"{', '.join(header) or 'none (the file is empty)'}")
    index = {role: header.index(name) for role, name in wanted.items()}
    for line, cells in table:
        if len(cells) != len(header):
            raise TslrecError(f"{path}, line {line}: {len(cells)} fields; expected {len(header)} "
                              f"({', '.join(header)})")
        yield line, {role: cells[place] for role, place in index.items()}


def _table(path: Path, config: PrepareConfig) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells), the column names first."""
    if path.suffix == ".dat":
        header = "item_id title genres" if path.name == "movies.dat" else "user_id item_id rating timestamp"
        yield 0, _renamed(header.split(), config)
        for line, text in _text_lines(path, config.encoding or "latin-1"):
            yield line, text.split("::")
        return
    typed = path.suffix in _TYPED_SUFFIXES
    lines = _text_lines(path, config.encoding or "utf-8-sig")
    number, first = next(lines, (0, ""))
    if typed:  # `name:type`, tab-separated, never quoted
        yield number, _renamed([cell.split(":")[0] for cell in first.split("\t")], config)
        for line, text in lines:
            yield line, text.split("\t")
        return
    delimiter = "\t" if "\t" in first else next((mark for mark in ";," if mark in first), ",")
    yield from _csv_rows(path, config, delimiter)


def _renamed(header: list[str], config: PrepareConfig) -> list[str]:
    """Name the columns of formats with fixed names as the flags do, so that the flags' values don't matter."""
    names = {"user_id": config.user_column, "item_id": config.item_column, "rating": config.rating_column,
             "timestamp": config.time_column or "timestamp"}
    return [names.get(name, name) for name in header]


def _csv_rows(path: Path, config: PrepareConfig, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL  # TSV: bare inch marks
    try:
        with open(path, encoding=config.encoding or "utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, quoting=quoting)
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except UnicodeDecodeError as error:
        raise TslrecError(f"{path} is not {error.encoding} text ({error.reason} at byte {error.start}); "
                          "name its encoding with --encoding") from None
    except csv.Error as error:
        raise TslrecError(f"{path}: {error}") from None


def _text_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without line end) of non-blank lines."""
    try:
        with open(path, encoding=encoding) as stream:
            for number, text in enumerate(stream, 1):
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise TslrecError(f"{path} is not {error.encoding} text ({error.reason} at byte {error.start}); "
                          "name its encoding with --encoding") from None
    except LookupError:
        raise TslrecError(f"unknown --encoding {encoding!r}; try utf-8 or latin-1") from None


def _number(text: str, path: Path, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise TslrecError(f"{path}, line {line}: rating {text!r} is not a number") from None


def _time(text: str, path: Path, line: int) -> float:
    """Parse a time: an integer stays exact, a float, or an ISO date (naive ones are taken as UTC)."""
    with contextlib.suppress(ValueError):
        value = int(text)
        if abs(value) < 2**63:
            return value
        raise TslrecError(f"{path}, line {line}: time {text!r} does not fit into 64 bits")
    with contextlib.suppress(ValueError):
        number = float(text)
        if number == number and abs(number) < 2**63:
            return int(number) if number.is_integer() else number
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TslrecError(f"{path}, line {line}: time {text!r} is neither a number nor an ISO date") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
