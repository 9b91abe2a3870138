"""The one exception that users are meant to see, and what is missing as a kind of it."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class TslrecError(Exception):
    """Something given to tslrec-min can't be used: a file, a folder, an option's value or a model.

    The message says what was given, what was expected and what to do. The command line prints it as one
    line and exits with status 1; anything else that is raised is a defect of this package.
    """


class MissingInput(TslrecError):
    """Columns or files are missing that options can name; the command line adds an example to the message."""

    def __init__(self, message: str, options: Sequence[str]) -> None:
        """Take the message, and words of a command line that would name what is missing; none: no guess is possible."""
        super().__init__(message)
        self.options = options


def missing_path(path: Path, expected: str, names: Iterable[str] = ()) -> TslrecError:
    """Return the error that nothing is at `path`: with what was probably meant, or else what to give.

    Args:
        path: of a file or folder.
        expected: what to give, in the imperative.
        names: what can be given in place of a path.
    """
    meant = difflib.get_close_matches(str(path), list(names)) or _like(path)
    return TslrecError(f"{path} does not exist; " + (f"did you mean {meant[0]}?" if meant else expected))


def _like(path: Path) -> list[Path]:
    """Return the existing paths that differ from this one in one name, and only a little."""
    for folder in path.parents:
        if folder.is_dir():
            first, *others = path.relative_to(folder).parts
            names = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
            meant = (folder.joinpath(name, *others) for name in difflib.get_close_matches(first, names))
            return [candidate for candidate in meant if candidate.exists()]
    return []
