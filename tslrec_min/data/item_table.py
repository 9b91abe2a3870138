"""Ids and texts of items as a TSV file: a header, then one row per item in the order of internal ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def save_item_table(path: Path, item_ids: Sequence[str], titles: Sequence[str], fields: Mapping[str, Sequence[str]]
                    ) -> None:
    """Write ids, titles and further columns (name -> texts), all of the same length."""
    rows = map("\t".join, zip(item_ids, titles, *fields.values(), strict=True))
    path.write_text("\n".join(["\t".join(("item_id", "title", *fields)), *rows, ""]), encoding="utf-8")


def load_item_table(path: Path) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Read what `save_item_table` wrote.

    Raises:
        OSError, ValueError, IndexError: it can't be read, or a row lacks a column.
    """
    (_, _, *names), *rows = [line.split("\t") for line in load_lines(path)]
    fields = {name: [row[place] for row in rows] for place, name in enumerate(names, 2)}
    return [row[0] for row in rows], [row[1] for row in rows], fields


def load_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, which end with a line feed; other breaks, such as U+2028, can be in titles."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]
