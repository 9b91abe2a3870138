"""Arms as they are named on the command line: FOLDER or NAME=FOLDER."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import TslrecError


def parse_named_folder(specification: str) -> tuple[str | None, Path]:
    """Parse ``FOLDER`` or ``NAME=FOLDER``; the name is None where none is given."""
    name, separator, path = specification.partition("=")
    if not separator or Path(specification).exists():  # a folder's own name may hold a =
        return None, Path(specification)
    return name, Path(path)


def parse_arms(specifications: Sequence[str]) -> dict[str, list[Path]]:
    """Parse ``FOLDER`` and ``NAME=FOLDER``; runs of one name are the seeds of one arm.

    Raises:
        TslrecError: two runs would be of one arm without its name being given.
    """
    arms: dict[str, list[Path]] = {}
    unnamed: set[str] = set()
    for specification in specifications:
        name, path = parse_named_folder(specification)
        if name is None:
            name = path.name
            unnamed.add(name)
        arms.setdefault(name, []).append(path)
    check_arms(arms)
    for name, paths in arms.items():
        if len(paths) > 1 and name in unnamed:
            raise TslrecError(f"two runs are called {name!r}; name them: NAME={paths[-1]}")
    return arms


def check_arms(arms: Mapping[str, Sequence[Path]]) -> None:
    """Raise TslrecError unless there are arms, and each has runs, none of them twice."""
    if not arms:
        raise TslrecError("there is no run to evaluate; give at least one folder that tslrec train wrote")
    for name, paths in arms.items():
        if not paths:
            raise TslrecError(f"the arm {name!r} has no run; give its folders, one for each seed")
        if len({path.resolve() for path in paths}) < len(paths):
            raise TslrecError(f"the arm {name!r} has the same run twice")
