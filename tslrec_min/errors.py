"""The exception for users, and parts of messages."""

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path


class TslrecError(Exception):
    """Invalid input: a file, a folder, an option's value or a model.

    The message says what was given, what was expected and what to do. The command line prints it as one line and exits
    with status 1; any other exception is a bug in this package.
    """


_ALIKE = 0.8
"""Minimum difflib ratio of a name and its misspelling: above that of train and pretrain, or ml-1m and ml-100k."""
_BEGINNING = 3
"""First characters of a name that are enough to suggest it."""


def some_of(names: Iterable[str]) -> str:
    """Return the first five names, separated by commas, and the number of the others."""
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def missing_path(path: Path, expected: str, names: Collection[str] = (), *,
                 fits: Callable[[Path], bool] = lambda _: True) -> TslrecError:
    """Return the error that `path` does not exist, with a suggestion of a similar name.

    Args:
        path: of a file or folder.
        expected: what to give, in the imperative.
        names: allowed in place of a path.
        fits: whether an existing path may be suggested.
    """
    known = [*names, *(str(candidate) for candidate in _like(path) if fits(candidate))]
    meant = difflib.get_close_matches(str(path), known, 1, _ALIKE) or [
        name for name in names if name.startswith(str(path)) and len(str(path)) >= _BEGINNING]
    return TslrecError(f"{path} does not exist; {expected}" + (f" (did you mean {meant[0]}?)" if meant else ""))


def _like(path: Path) -> list[Path]:
    """Return existing paths that differ from this one only in the spelling of one name."""
    for folder in path.parents:
        if folder.is_dir():
            first, *others = path.relative_to(folder).parts
            with contextlib.suppress(OSError):  # no permission to list the folder
                names = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
                alike = (folder.joinpath(name, *others) for name in difflib.get_close_matches(first, names, 3, _ALIKE))
                return [candidate for candidate in alike if candidate.exists()]
            break
    return []
