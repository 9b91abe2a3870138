"""Raw data of any format: find, check and open files, and read interactions.

The formats themselves are in ``tables`` (CSV, RecBole, MovieLens), ``json_lines`` (JSON Lines, Amazon, Yelp, Steam) and
``columnar`` (Parquet, data frames). The "sequences" of S3-Rec (``user item item ...`` a line, in time order) are here.
"""

from __future__ import annotations

from pathlib import Path

from ...configs import PrepareConfig
from ...errors import TslrecError
from .columnar import Parquet
from .discover import JSON_SUFFIXES, Source, find_source
from .interactions import Collector, RawInteractions
from .json_lines import open_json_lines
from .rows import Chunk, MissingColumns, Rows
from .tables import open_table
from .text import RawFile, text_lines
from .titles import item_columns
from .values import brief

_CHUNK_ITEMS = 1 << 15


def find_files(source: Path, items: Path | None, config: PrepareConfig) -> Source:
    """Find the files of interactions and titles, and check that they have the columns to be read.

    Args:
        source, items, config: see `discover.find_source`.

    Raises:
        TslrecError: columns or titles are missing (the message names all of them), or see `discover.find_source`.
    """
    files = find_source(source, items, config)
    wanted = []
    if files.format != "sequences":  # they have no columns
        rows = open_rows(files.interactions, config)
        wanted.append((rows, interaction_columns(rows, config)))
    if files.items:
        rows = open_rows(files.items, config, items=True)
        wanted.append((rows, item_columns(rows, config)))
    missing: list[MissingColumns] = []
    for rows, columns in wanted:
        try:
            rows.check(columns)
        except MissingColumns as error:
            missing.append(error)
    problems = [str(error) for error in missing]
    if any("time" in error.roles for error in missing):
        problems.append("if there are no times, and rows are in time order, give --time-column ''")
    if len(missing) > 1 and all(not one.missing.isdisjoint(other.names) for one, other in (missing, missing[::-1])):
        problems.append("each file has a column that the other one lacks: they seem to be swapped")
    if files.items is None and config.missing_titles == "error":
        problems.append(f"no titles beside {files.interactions} (.item, items.tsv, items.csv, movies.dat, movies.csv, "
                        "meta_ and others); name the file with --items, or do without titles with --missing-titles "
                        "blank")
    if problems:
        raise TslrecError("; ".join(problems))
    return files


def open_rows(file: RawFile, config: PrepareConfig, *, items: bool = False) -> Rows:
    """Open a file of rows, interactions or, with `items`, items.

    Raises:
        TslrecError: it can't be read.
    """
    if file.suffix == ".parquet" or (config.format == "parquet" and not items):
        return Parquet(file)
    if file.suffix in JSON_SUFFIXES or (config.format in ("jsonl", "amazon", "yelp", "steam") and not items
                                and file.suffix != ".csv"):
        return open_json_lines(file, config, items=items)
    return open_table(file, config, items=items)


def read_interactions(source: Source, config: PrepareConfig) -> RawInteractions:
    """Read the interactions of a source.

    Raises:
        TslrecError: a column is missing, or a row can't be read and is not to be skipped.
    """
    if source.format == "sequences":
        return _read_sequences(source.interactions, config)
    return collect(open_rows(source.interactions, config), config)


def collect(rows: Rows, config: PrepareConfig) -> RawInteractions:
    """Read interactions from rows.

    Raises:
        TslrecError: see `read_interactions`.
    """
    columns = interaction_columns(rows, config)
    per_second = 1000 if config.time_unit == "ms" else rows.per_second
    collector = Collector(rows, config, timed=bool(columns["time"]), per_second=per_second)
    for chunk in rows.chunks(columns, collector.bad):
        collector.add(chunk)
    return collector.finish()


def interaction_columns(rows: Rows, config: PrepareConfig) -> dict[str, str]:
    """Return the columns to read of interactions: ``user``, ``item``, ``time``, ``rating`` -> name, or blank."""
    return {"user": config.user_column, "item": config.item_column, "time": config.time_column if rows.timed else "",
            "rating": config.rating_column if config.min_rating is not None else ""}


def _read_sequences(file: RawFile, config: PrepareConfig) -> RawInteractions:
    if config.min_rating is not None:
        raise TslrecError(f"--min-rating needs ratings, and {file} holds sequences, which have none; leave it out")
    collector = Collector(file, config, timed=False)
    lines: list[int] = []
    users: list[str] = []
    items: list[str] = []
    for line, text in text_lines(file, config.encoding or "utf-8"):
        user, *history = text.split()
        if not history:
            collector.bad.add(file, line, "no item", f"expected `user item item ...`; got {brief(text)}")
        lines += [line] * len(history)
        users += [user] * len(history)
        items += history
        if len(items) >= _CHUNK_ITEMS:
            collector.add(Chunk(lines, {"user": users, "item": items}, is_text=True))
            lines, users, items = [], [], []
    collector.add(Chunk(lines, {"user": users, "item": items}, is_text=True))
    return collector.finish()
