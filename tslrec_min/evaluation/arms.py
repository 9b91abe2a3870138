"""Names of arms, and of item embeddings, on the command line: FOLDER or NAME=FOLDER."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import TslrecError


def parse_named_folder(specification: str) -> tuple[str | None, Path]:
    """Parse ``FOLDER``, which has the name None, or ``NAME=FOLDER``."""
    name, separator, path = specification.partition("=")
    if not separator or Path(specification).exists():  # a folder's own name may contain =
        return None, Path(specification)
    return name, Path(path)


def parse_arms(specifications: Sequence[str]) -> dict[str, list[Path]]:
    """Parse the folders of runs; runs with the same name are the seeds of one arm.

    Raises:
        TslrecError: there is no run, an arm has a run twice, or two folders of the same name have no arm's name.
    """
    arms: dict[str, list[Path]] = {}
    parsed = [parse_named_folder(specification) for specification in specifications]
    for name, path in parsed:
        arms.setdefault(path.name if name is None else name, []).append(path)
    check_arms(arms)
    for name, path in parsed:
        if name is None and len(arms[path.name]) > 1:
            raise TslrecError(f"two runs are called {path.name!r}; give them names: NAME={arms[path.name][-1]}")
    return arms


def check_arms(arms: Mapping[str, Sequence[Path]]) -> None:
    """Raise TslrecError if there is no arm, an arm has no run, or an arm has a run twice."""
    if not arms:
        raise TslrecError("there is no run to evaluate; give at least one folder that tslrec train wrote")
    for name, paths in arms.items():
        if not paths:
            raise TslrecError(f"the arm {name!r} has no run; give its folders, one for each seed")
        if len({path.resolve() for path in paths}) < len(paths):
            raise TslrecError(f"the arm {name!r} has the same run twice")


def parse_sets(specifications: Sequence[str]) -> dict[str, Path]:
    """Parse the folders and files of item embeddings; without a name, one is called like its folder or file.

    Raises:
        TslrecError: there is none, or two have the same name.
    """
    sets: dict[str, Path] = {}
    for name, path in map(parse_named_folder, specifications):
        name = path.resolve().name if name is None else name
        if name in sets:
            raise TslrecError(f"two sets of item embeddings are called {name!r}; give them names: NAME={path}")
        sets[name] = path
    check_sets(sets)
    return sets


def check_sets(sets: Mapping[str, Path]) -> None:
    """Raise TslrecError if there are no item embeddings."""
    if not sets:
        raise TslrecError("there are no item embeddings to probe; give at least one folder that tslrec embed wrote, or "
                          "a file of vectors")
