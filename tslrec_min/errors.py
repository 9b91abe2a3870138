"""The one exception that users are meant to see, and what is missing as a kind of it."""

from collections.abc import Sequence


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
