"""Titles and further texts of items, from rows of any format."""

from __future__ import annotations

import html
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from ...configs import PrepareConfig
from ...errors import TslrecError
from .rows import BadRows, Rows
from .values import brief, id_text, is_missing

_TITLE_COLUMNS = ("title", "movie_title", "name", "item_name", "product_title")


@dataclass
class RawItems:
    """Texts of items: HTML entities unescaped, white space normalised."""

    titles: dict[str, str] = field(default_factory=dict)
    """Item id -> title."""
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name of a further column -> item id -> its text."""
    unescaped: set[str] = field(default_factory=set)
    """Ids of items in whose texts HTML entities were unescaped."""
    bad_rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Rows left out because they are bad, see `BadRows.reasons`."""


def collect_items(rows: Rows, config: PrepareConfig, *, wanted: Container[str] | None = None) -> RawItems:
    """Read the titles of items and their texts in the columns of ``item_fields``.

    Args:
        rows: of the items; an item may have several that agree.
        config: names of columns, and what to do with bad rows.
        wanted: ids of the items to keep; None: all.

    Raises:
        TslrecError: a column is missing, a row can't be read, or an item has two titles or two texts in a column.
    """
    names = item_field_names(config)
    raw, bad = RawItems(fields={name: {} for name in names}), BadRows(skip=config.on_bad_row == "skip")
    columns = item_columns(rows, config)
    for chunk in rows.chunks(columns, bad):
        values = [chunk.columns[role] for role in columns]
        if chunk.is_text and _take_all(raw, ("title", *names), [list(column) for column in values], wanted):
            continue
        for line, item, *texts in zip(chunk.lines, *values, strict=True):
            try:
                item_id = item if chunk.is_text else id_text(item)  # as those of interactions
            except ValueError as error:
                bad.add(rows, line, "id is neither text nor a number", str(error))
                continue
            if wanted is None or item_id in wanted:
                _take_item(raw, bad, rows, line, item_id, dict(zip(("title", *names), texts, strict=True)))
    raw.bad_rows = bad.reasons
    return raw


def _take_all(raw: RawItems, names: Sequence[str], columns: Sequence[list[str]], wanted: Container[str] | None
              ) -> bool:
    """Take many items, as `_take_item` does, if all are new; return whether they are. The first column has the ids."""
    items, *texts = columns
    if wanted is not None:
        chosen = [item in wanted for item in items]
        items, *texts = (list(compress(column, chosen)) for column in columns)
    if len(set(items)) < len(items) or not raw.titles.keys().isdisjoint(items):
        return False
    known = {"title": raw.titles, **raw.fields}
    for name, given in zip(names, texts, strict=True):
        given = [text if text.isascii() else text_of(text) for text in given]
        known[name].update(zip(items, (" ".join(html.unescape(text).split()) for text in given), strict=True))
        raw.unescaped.update(item for item, text in zip(items, given, strict=True)
                             if "&" in text and html.unescape(text) != text)
    return True


def _take_item(raw: RawItems, bad: BadRows, where: object, line: int, item_id: str, texts: dict[str, Any]) -> None:
    known = {"title": raw.titles, **raw.fields}
    try:
        given = {name: text_of(value) for name, value in texts.items()}
    except (ValueError, RecursionError) as error:  # a number with too many digits, lists nested too deep
        bad.add(where, line, "text can't be read", f"a text of item {item_id!r} can't be read: {error}")
        return
    clean = {name: " ".join(html.unescape(text).split()) for name, text in given.items()}
    for name, text in clean.items():
        first = known[name].get(item_id, text)
        if first != text:
            bad.add(where, line, f"second {name} of an item",
                    f"item {item_id!r} has a second {name} {brief(text)}; the first was {brief(first)}")
            return
    for name, text in clean.items():
        known[name][item_id] = text
    if any("&" in text and html.unescape(text) != text for text in given.values()):
        raw.unescaped.add(item_id)


def text_of(value: Any) -> str:
    """Return a value as text: lists with commas, objects as ``key: value``, None as blank."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()  # no lone surrogates
    if isinstance(value, Mapping):
        texts = {key: text_of(inner) for key, inner in value.items()}
        return ", ".join(f"{key}: {text}" for key, text in texts.items() if text)
    if isinstance(value, Sequence) or hasattr(value, "__len__"):
        return ", ".join(text for text in map(text_of, value) if text)
    return "" if is_missing(value) else str(value)


def item_field_names(config: PrepareConfig) -> tuple[str, ...]:
    """Return the names in ``item_fields``.

    Raises:
        TslrecError: one is empty, repeated, or the name of a column that every data set has.
    """
    names = tuple(name.strip() for name in config.item_fields.split(",")) if config.item_fields.strip() else ()
    if "" in names or len(set(names)) < len(names):
        raise TslrecError(f"--item-fields {config.item_fields!r} has an empty or repeated name; expected different "
                          "names of columns, separated by commas")
    taken = [name for name in names if name in ("item", "item_id", "title", config.item_column)]
    if taken:
        raise TslrecError(f"--item-fields names {', '.join(taken)}, which every data set has; name only further columns"
                          )
    return names


def item_columns(rows: Rows, config: PrepareConfig) -> dict[str, str]:
    """Return the columns to read of items: ``item``, ``title`` and further texts -> name."""
    named = () if "title" in rows.aliases else (name for name in _TITLE_COLUMNS if name in rows.names)
    return {"item": config.item_column, "title": config.title_column or next(iter(named), "title"),
            **{name: name for name in item_field_names(config)}}
