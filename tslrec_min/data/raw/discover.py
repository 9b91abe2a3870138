"""Find the files of a raw data set and their format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...configs import FORMATS, PrepareConfig
from ...errors import TslrecError, missing_path
from ..builtin import DATASETS
from .json_lines import open_json_lines
from .tables import open_table
from .text import RawFile, members

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_INTERACTIONS = ("*.inter", "ratings.dat", "sequences.txt", "interactions.csv", "interactions.tsv",
                 "interactions.jsonl", "interactions.parquet", "ratings.csv", "u.data",
                 "yelp_academic_dataset_review.json", "steam_reviews.json", "australian_user_reviews.json",
                 "australian_users_items.json")
"""Names searched for in a folder, in this order; each file may be compressed."""
_IN_ARCHIVES = {"ratings.dat": "movies.dat", "ratings.csv": "movies.csv", "u.data": "u.item"}
"""Of MovieLens' archives: interactions -> items."""
_ITEMS = ("items.tsv", "items.csv", "items.jsonl", "items.parquet", "movies.dat", "movies.csv", "u.item",
          "yelp_academic_dataset_business.json", "steam_games.json", "australian_users_items.json")
_BY_SUFFIX = {".inter": "recbole", ".dat": "movielens", ".data": "movielens", ".txt": "sequences",
              ".parquet": "parquet"}


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
        config: format, and names of columns.

    Raises:
        TslrecError: no files are found, or several that fit.
    """
    path = Path(path)
    if not path.exists():
        raise missing_path(path, "give a file of interactions or a folder that holds one, or the name of a built-in "
                                 f"data set ({', '.join(DATASETS)})", DATASETS)
    if items and items.is_dir():
        raise TslrecError(f"items file {items} is a folder; name the file in it")
    if items and not items.is_file():
        raise missing_path(items, "name the file with the titles")
    if path.suffix == ".zip":
        file, beside = _in_archive(path)
    else:
        file = RawFile(_only_interactions_file(path) if path.is_dir() else path)
        beside = _items_beside(file)
    return Source(_format_of(file, config), file, RawFile(items) if items else beside)


def _in_archive(path: Path) -> tuple[RawFile, RawFile | None]:
    files = members(path)
    for name, items in _IN_ARCHIVES.items():
        matches = [file for file in files if file.name == name]
        if len(matches) == 1:
            folder = matches[0].member.removesuffix(name)
            return matches[0], next((file for file in files if file.member == folder + items), None)
    raise TslrecError(f"{path} holds no {', '.join(_IN_ARCHIVES)}, or several: it is no archive of MovieLens; unpack "
                      "it and give the file of interactions")


def _only_interactions_file(folder: Path) -> Path:
    for pattern in _INTERACTIONS:
        files = sorted([*folder.glob(pattern), *folder.glob(f"{pattern}.gz")])
        if len(files) > 1:
            raise TslrecError(f"{folder} holds {len(files)} files {pattern}; give one of them")
        if files:
            return files[0]
    reviews = [file for file in sorted(folder.iterdir()) if RawFile(file).suffix in JSON_SUFFIXES
               and not file.name.startswith("meta_") and _metadata_beside(RawFile(file))]
    if len(reviews) == 1:  # Amazon: X.jsonl.gz beside meta_X.jsonl.gz
        return reviews[0]
    raise TslrecError(f"{folder} holds no .inter file, {', '.join(_INTERACTIONS[1:])} (or one of these with .gz), and "
                      "not exactly one file of reviews beside its meta_ file; give the file of interactions itself")


def _format_of(file: RawFile, config: PrepareConfig) -> str:
    if config.format != "auto":
        return config.format
    if file.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[file.suffix]
    if file.suffix in (".csv", ".tsv"):
        return open_table(file, config).format
    if file.suffix in JSON_SUFFIXES:
        return open_json_lines(file, config).form.format
    raise TslrecError(f"the format of {file} is not clear from its name; say it with --format "
                      f"{', '.join(FORMATS[1:])}")


def _items_beside(file: RawFile) -> RawFile | None:
    folder = file.path.parent
    names = [f"{file.name.removesuffix(file.suffix)}.item", *_ITEMS]
    return _metadata_beside(file) or _first_file(folder / f"{name}{packed}" for name in names for packed in ("", ".gz"))


def _metadata_beside(file: RawFile) -> RawFile | None:
    """Return Amazon's metadata: meta_X for reviews_X_5, X_5 and X."""
    category = file.name.removesuffix(file.suffix).removeprefix("reviews_").removesuffix("_5")
    return _first_file(file.path.parent / f"meta_{category}{suffix}{packed}"
                       for suffix in JSON_SUFFIXES for packed in (".gz", ""))


def _first_file(candidates: Iterable[Path]) -> RawFile | None:
    return next((RawFile(candidate) for candidate in candidates if candidate.is_file()), None)
