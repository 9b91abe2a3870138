"""Find the files that `prepare` is given, and say at once all that is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...configs import PrepareConfig
from ...errors import MissingInput
from .discover import Source, find_source
from .readers import interaction_columns, open_rows
from .rows import MissingColumns, Rows
from .titles import item_columns

_GUESSED = ("user", "item", "time", "rating", "title")
"""Roles of columns that an example can have: those with a flag of their own."""
_TITLES = "YOUR_TITLES.csv"
"""Stands for a file in an example."""


@dataclass(frozen=True)
class _Columns:
    """The columns of a file, and what is wanted of them."""

    names: Sequence[str]
    wanted: Mapping[str, str]
    """Role -> name."""
    problem: MissingColumns | None

    @classmethod
    def of(cls, rows: Rows, wanted: Mapping[str, str]) -> _Columns:
        """Check the columns of a file."""
        try:
            rows.check(wanted)
        except MissingColumns as problem:
            return cls(rows.names, wanted, problem)
        return cls(rows.names, wanted, None)

    @property
    def missing(self) -> Sequence[str]:
        """Roles without a column."""
        return self.problem.roles if self.problem else ()

    @property
    def missing_names(self) -> set[str]:
        """Names of columns that are wanted and not there."""
        return {self.wanted[role] for role in self.missing}


def find_files(source: Path, items: Path | None, config: PrepareConfig) -> Source:
    """Find the files of interactions and titles, and check that they have the columns that are to be read.

    Args:
        source, items: see `readers.find_source`.
        config: names of columns, and whether titles can be missing.

    Raises:
        MissingInput: columns or titles are missing; names all of them.
        TslrecError: a file is missing or can't be opened, or there is more than one that it could be.
    """
    found = find_source(source, items, config)
    tables: list[_Columns] = []
    if found.format != "sequences":  # they have no columns
        rows = open_rows(found.interactions, config)
        tables.append(_Columns.of(rows, interaction_columns(rows, config)))
    if found.items:
        rows = open_rows(found.items, config, items=True)
        tables.append(_Columns.of(rows, item_columns(rows, config)))
    problems = [str(table.problem) for table in tables if table.problem]
    options = _guessed_options(tables)
    if len(tables) > 1 and all(one.missing_names.intersection(other.names) for one, other in (tables, tables[::-1])):
        problems.append("each of the two files has a column that the other one lacks: they seem to be given in each "
                        "other's place")
        options = None
    if found.items is None and config.missing_titles == "error":
        problems.append(f"no titles beside {found.interactions} (.item, items.tsv, items.csv, movies.dat, movies.csv, "
                        "meta_ and others); name the file with --items, or do without titles with --missing-titles "
                        "blank")
        options = None if options is None else ["--items", _TITLES, *options]
    if problems:
        raise MissingInput("; ".join(problems), options or ())
    return found


def _guessed_options(tables: Sequence[_Columns]) -> list[str] | None:
    """Return options for the columns that are missing, or None if there aren't enough columns to choose from.

    The item is the first column that all files have; what else is missing is taken in the order of the columns.
    """
    guess: dict[str, str] = {}
    if len(tables) > 1 and any("item" in table.missing for table in tables):
        first, second = tables
        guess["item"] = next((name for name in first.names if name in second.names), "")
    for table in tables:
        for role in table.missing:
            taken = {*guess.values(), *(name for known, name in table.wanted.items() if known not in table.missing)}
            guess.setdefault(role, next((name for name in table.names if name not in taken), ""))
    if any(role not in _GUESSED or not name and role != "time" for role, name in guess.items()):
        return None  # without a time rows are in the order of time
    return [word for role, name in guess.items() for word in (f"--{role}-column", name)]
