"""The one exception that users are meant to see."""

import contextlib
import difflib
from collections.abc import Callable, Iterable
from pathlib import Path


class TslrecError(Exception):
    """Something given to tslrec-min can't be used: a file, a folder, an option's value or a model.

    The message says what was given, what was expected and what to do. The command line prints it as one
    line and exits with status 1; anything else that is raised is a defect of this package.
    """


_ALIKE = 0.8
"""Least ratio of difflib of names that are taken for one misspelt: above train to pretrain, and ml-1m to ml-100k."""


def some_of(names: Iterable[str]) -> str:
    """Return the first five names, separated by commas, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def missing_path(path: Path, expected: str, names: Iterable[str] = (), *,
                 fits: Callable[[Path], bool] = lambda _: True) -> TslrecError:
    """Return the error that nothing is at `path`: what to give, and what was probably meant.

    Args:
        path: of a file or folder.
        expected: what to give, in the imperative.
        names: what can be given in place of a path.
        fits: whether an existing path of almost that name could have been meant.
    """
    known = [*names, *(str(candidate) for candidate in _like(path) if fits(candidate))]
    meant = difflib.get_close_matches(str(path), known, 1, _ALIKE)
    return TslrecError(f"{path} does not exist; {expected}" + (f" (did you mean {meant[0]}?)" if meant else ""))


def _like(path: Path) -> list[Path]:
    """Return the existing paths that differ from this one in one name, and only a little."""
    for folder in path.parents:
        if folder.is_dir():
            first, *others = path.relative_to(folder).parts
            with contextlib.suppress(OSError):  # a folder that may be entered but not listed
                names = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
                meant = (folder.joinpath(name, *others) for name in difflib.get_close_matches(first, names, 3, _ALIKE))
                return [candidate for candidate in meant if candidate.exists()]
            break
    return []
