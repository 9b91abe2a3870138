"""Raw data of any format: find its files, read interactions and texts of items.

The formats themselves are in ``tables`` (CSV, RecBole, MovieLens), ``json_lines`` (JSON Lines, Amazon, Yelp, Steam) and
``columnar`` (Parquet, data frames). The "sequences" of S3-Rec (``user item item ...`` a line, in time order) are here.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from ...configs import FORMATS, PrepareConfig
from ...errors import TslrecError, missing_path
from ...llm.resolve import DATASETS
from .columnar import open_parquet
from .json_lines import open_json_lines
from .rows import Chunk, Collector, RawInteractions, Rows
from .tables import open_table
from .text import RawFile, members, text_lines
from .titles import RawItems, collect_items
from .values import brief

_CHUNK_ITEMS = 1 << 15
_JSON = (".json", ".jsonl", ".ndjson")
_INTERACTIONS = ("*.inter", "ratings.dat", "sequences.txt", "interactions.csv", "interactions.tsv",
                 "interactions.jsonl", "interactions.parquet", "ratings.csv", "u.data",
                 "yelp_academic_dataset_review.json", "steam_reviews.json", "australian_user_reviews.json",
                 "australian_users_items.json")
"""What a folder is searched for, in this order; each may be compressed too."""
_IN_ARCHIVES = {"ratings.dat": "movies.dat", "ratings.csv": "movies.csv", "u.data": "u.item"}
"""Of MovieLens' archives: interactions -> items."""
_ITEMS = ("items.tsv", "items.csv", "items.jsonl", "items.parquet", "movies.dat", "movies.csv", "u.item",
          "yelp_academic_dataset_business.json", "steam_games.json", "australian_users_items.json")


@dataclass(frozen=True)
class Source:
    """The files of a raw data set."""

    format: str
    interactions: RawFile
    items: RawFile | None


def find_source(path: Path, items: Path | None, config: PrepareConfig) -> Source:
    """Find the files and the format of a raw data set.

    Args:
        path: a file of interactions, a folder with exactly one, or a zip archive of MovieLens.
        items: the file with titles, or None to look for it beside the interactions.
        config: its ``format`` may be ``auto``.

    Raises:
        TslrecError: nothing usable is there.
    """
    path = Path(path)
    if not path.exists():
        raise missing_path(path, "give a file of interactions or a folder that holds one, or the name of a built-in "
                                 f"data set ({', '.join(DATASETS)})", DATASETS)
    if items is not None and items.is_dir():
        raise TslrecError(f"items file {items} is a folder; name the file in it")
    if items is not None and not items.is_file():
        raise missing_path(items, "name the file with the titles")
    if path.suffix == ".zip":
        file, beside = _in_archive(path)
    else:
        file = RawFile(_only_interactions_file(path) if path.is_dir() else path)
        beside = _items_beside(file)
    found = _format_of(file, config) if config.format == "auto" else config.format
    return Source(found, file, RawFile(items) if items else beside)


def _in_archive(path: Path) -> tuple[RawFile, RawFile | None]:
    files = members(path)
    for name, items in _IN_ARCHIVES.items():
        found = [file for file in files if file.name == name]
        if len(found) == 1:
            folder = found[0].member.removesuffix(name)
            return found[0], next((file for file in files if file.member == folder + items), None)
    raise TslrecError(f"{path} holds no {', '.join(_IN_ARCHIVES)}, or several: it is no archive of MovieLens; unpack "
                      "it and give the file of interactions")


def _only_interactions_file(folder: Path) -> Path:
    for pattern in _INTERACTIONS:
        files = sorted([*folder.glob(pattern), *folder.glob(f"{pattern}.gz")])
        if len(files) > 1:
            raise TslrecError(f"{folder} holds {len(files)} files {pattern}; give one of them")
        if files:
            return files[0]
    reviews = [file for file in sorted(folder.iterdir()) if RawFile(file).suffix in _JSON
               and not file.name.startswith("meta_") and _metadata_beside(RawFile(file))]
    if len(reviews) == 1:  # Amazon: X.jsonl.gz beside meta_X.jsonl.gz
        return reviews[0]
    raise TslrecError(f"{folder} holds no .inter file, {', '.join(_INTERACTIONS[1:])} (or one of these with .gz), and "
                      "not exactly one file of reviews beside its meta_ file; give the file of interactions itself")


def _format_of(file: RawFile, config: PrepareConfig) -> str:
    by_suffix = {".inter": "recbole", ".dat": "movielens", ".data": "movielens", ".txt": "sequences",
                 ".parquet": "parquet"}
    if file.suffix in by_suffix:
        return by_suffix[file.suffix]
    if file.suffix in (".csv", ".tsv"):
        return open_table(file, config).format
    if file.suffix in _JSON:
        return open_json_lines(file, config).form.format
    raise TslrecError(f"the format of {file} is not clear from its name; say it with --format "
                      f"{', '.join(FORMATS[1:])}")


def _items_beside(file: RawFile) -> RawFile | None:
    folder = file.path.parent
    names = [f"{file.name.removesuffix(file.suffix)}.item", *_ITEMS]
    candidates = [folder / found for name in names for found in (name, f"{name}.gz")]
    metadata = _metadata_beside(file)
    return metadata or next((RawFile(candidate) for candidate in candidates if candidate.is_file()), None)


def _metadata_beside(file: RawFile) -> RawFile | None:
    """Return Amazon's metadata: meta_X for reviews_X_5, X_5 and X."""
    category = file.name.removesuffix(file.suffix).removeprefix("reviews_").removesuffix("_5")
    candidates = (file.path.parent / f"meta_{category}{suffix}{packed}" for suffix in _JSON for packed in (".gz", ""))
    return next((RawFile(candidate) for candidate in candidates if candidate.is_file()), None)


def open_rows(file: RawFile, config: PrepareConfig, *, items: bool = False) -> Rows:
    """Open a file of rows, interactions or, with `items`, items.

    Raises:
        TslrecError: it can't be read.
    """
    if file.suffix == ".parquet" or (config.format == "parquet" and not items):
        return open_parquet(file)
    if file.suffix in _JSON or (config.format in ("jsonl", "amazon", "yelp", "steam") and not items
                                and file.suffix != ".csv"):
        return open_json_lines(file, config, items=items)
    return open_table(file, config, items=items)


def read_interactions(source: Source, config: PrepareConfig) -> RawInteractions:
    """Read the interactions of a source.

    Raises:
        TslrecError: a column is missing, or a row can't be read; names the file and the line.
    """
    if source.format == "sequences":
        return _read_sequences(source.interactions, config)
    return collect(open_rows(source.interactions, config), source.interactions, config)


def collect(rows: Rows, where: object, config: PrepareConfig) -> RawInteractions:
    """Read interactions from rows; `where` is what messages call them.

    Raises:
        TslrecError: a column is missing, or a row can't be read and is not to be skipped.
    """
    columns = interaction_columns(rows, config)
    per_second = 1000 if config.time_unit == "ms" else rows.per_second
    collector = Collector(where, config, timed=bool(columns["time"]), per_second=per_second)
    for chunk in rows.chunks(columns, collector.bad):
        collector.add(chunk)
    return collector.finish()


def interaction_columns(rows: Rows, config: PrepareConfig) -> dict[str, str]:
    """Return the columns that are read of interactions: ``user``, ``item``, ``time``, ``rating`` -> name, or blank."""
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
        user, *had = text.split()
        if not had:
            collector.bad.add(file, line, "no item", f"expected `user item item ...`; got {brief(text)}")
        lines += [line] * len(had)
        users += [user] * len(had)
        items += had
        if len(items) >= _CHUNK_ITEMS:
            collector.add(Chunk(lines, {"user": users, "item": items}, is_text=True))
            lines, users, items = [], [], []
    collector.add(Chunk(lines, {"user": users, "item": items}, is_text=True))
    return collector.finish()


def read_items(file: RawFile, config: PrepareConfig, *, wanted: Container[str] | None = None) -> RawItems:
    """Read the titles and the further columns of ``item_fields`` from a file of any format.

    Raises:
        TslrecError: a column is missing, a row can't be read, or an item has two titles or two texts in a column.
    """
    return collect_items(open_rows(file, config, items=True), file, config, wanted=wanted)
