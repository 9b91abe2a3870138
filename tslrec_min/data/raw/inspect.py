"""Find the files that `prepare` is given, and say at once all that is missing."""

from __future__ import annotations

from pathlib import Path

from ...configs import PrepareConfig
from ...errors import TslrecError
from .discover import Source, find_source
from .readers import interaction_columns, open_rows
from .rows import MissingColumns
from .titles import item_columns


def find_files(source: Path, items: Path | None, config: PrepareConfig) -> Source:
    """Find the files of interactions and titles, and check that they have the columns that are to be read.

    Args:
        source, items: see `discover.find_source`.
        config: names of columns, and whether titles can be missing.

    Raises:
        TslrecError: columns or titles are missing (names all of them), a file is missing or can't be opened, or there
            is more than one that it could be.
    """
    found = find_source(source, items, config)
    wanted = []
    if found.format != "sequences":  # they have no columns
        rows = open_rows(found.interactions, config)
        wanted.append((rows, interaction_columns(rows, config)))
    if found.items:
        rows = open_rows(found.items, config, items=True)
        wanted.append((rows, item_columns(rows, config)))
    missing: list[MissingColumns] = []
    for rows, columns in wanted:
        try:
            rows.check(columns)
        except MissingColumns as error:
            missing.append(error)
    problems = [str(error) for error in missing]
    if any("time" in error.roles for error in missing):
        problems.append("if there are no times, and rows are in their order, give --time-column ''")
    if len(missing) > 1 and all(not one.missing.isdisjoint(other.names) for one, other in (missing, missing[::-1])):
        problems.append("each of the two files has a column that the other one lacks: they seem to be given in each "
                        "other's place")
    if found.items is None and config.missing_titles == "error":
        problems.append(f"no titles beside {found.interactions} (.item, items.tsv, items.csv, movies.dat, movies.csv, "
                        "meta_ and others); name the file with --items, or do without titles with --missing-titles "
                        "blank")
    if problems:
        raise TslrecError("; ".join(problems))
    return found
