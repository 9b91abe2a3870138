"""Conversion of the arguments of `api` into those of the library; each function is named after what it returns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TslrecError
from ..runtime.device import start_torch, usable_processors
from ..storage.existing import Existing

if TYPE_CHECKING:
    from ..recommenders.fusion.parts import Part

StrPath = str | os.PathLike[str]
Histories = Mapping[Any, Iterable[Any]] | Iterable[Iterable[Any]]
"""User -> item ids, or only lists of item ids."""


def computing(device: str, threads: int | None) -> dict[str, Any]:
    """Load torch, and return its device and the number of threads."""
    count = threads or usable_processors()
    return {"device": start_torch(device, count), "threads": count}


def settings(device: str, threads: int | None, existing: str, *, with_torch: bool = True) -> dict[str, Any]:
    """Return the device, the number of threads and what to do with existing artifacts."""
    where = computing(device, threads) if with_torch else {"device": device, "threads": threads or usable_processors()}
    return where | {"existing": Existing(existing)}


def are_frames(interactions: Any, items: Any) -> bool:
    """Return whether both are data frames, which have columns; raise TypeError if only one is."""
    of_interactions, of_items = hasattr(interactions, "columns"), hasattr(items, "columns")
    if of_interactions != of_items:
        raise TypeError(f"interactions are a {type(interactions).__name__} and items a {type(items).__name__}; "
                        "expected two data frames, or two files")
    return of_interactions


def count(k: int) -> int:
    """Return a number of items, or raise TslrecError if it is no positive integer."""
    if type(k) is not int or k < 1:
        raise TslrecError(f"k is {k!r}; expected a number of items, at least 1")
    return k


def skips(unknown: str) -> bool:
    """Return whether unknown ids are skipped, or raise TslrecError if it is neither ``refuse`` nor ``skip``."""
    if unknown not in ("refuse", "skip"):
        raise TslrecError(f"unknown is {unknown!r}; expected refuse or skip")
    return unknown == "skip"


def path(given: StrPath | None) -> Path | None:
    """Return a path if one is given."""
    return None if given is None else Path(given)


def several(given: Any) -> list[Any]:
    """Return a list of the values given: one, such as a string or a path, or many."""
    return [given] if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable) else list(given)


def parts(given: StrPath | Sequence[StrPath] | Mapping[str, StrPath]) -> list[Part]:
    """Return the parts of a sum; raise TslrecError if one is missing, or two have the same name."""
    from ..evaluation.arms import parse_named_folder
    from ..recommenders.fusion.parts import check_parts, part_of

    chosen = [part_of(str(name), Path(part)) for name, part in given.items()] if isinstance(given, Mapping) else [
        part_of(*parse_named_folder(os.fspath(part))) for part in several(given)]
    check_parts(chosen)
    return chosen


def arms(runs: StrPath | Sequence[StrPath] | Mapping[str, StrPath | Sequence[StrPath]]) -> dict[str, list[Path]]:
    """Return the folders of every arm."""
    from ..evaluation.arms import parse_arms

    if isinstance(runs, Mapping):
        return {name: [Path(path) for path in several(paths)] for name, paths in runs.items()}
    return parse_arms([os.fspath(run) for run in several(runs)])


def vector_sets(given: StrPath | Sequence[StrPath] | Mapping[str, StrPath]) -> dict[str, Path]:
    """Return the item embeddings to probe; raise TslrecError if there are none, or two have the same name."""
    from ..evaluation.arms import parse_sets

    if isinstance(given, Mapping):
        return {str(name): Path(path) for name, path in given.items()}
    return parse_sets([os.fspath(path) for path in several(given)])
