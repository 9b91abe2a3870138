"""What is said on standard error while something runs, as much of it as is wanted.

Standard output is for results alone. ``quiet`` leaves errors, warnings and the licence of a model that is fetched;
``normal`` adds progress bars, where standard error is a terminal, and notes; ``verbose`` adds a line per step with the
seconds since the start. Of the processes that torchrun started the first one speaks.

Notes, steps and warnings are records of the logger ``tslrec_min`` (INFO, DEBUG, WARNING). `set_verbosity`, which the
command line calls, gives it a level and a handler that writes to standard error. Without that call they go to the
handlers that the program has set up, at the levels that it chose; where it has none, ``normal`` holds.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}
_logger = logging.getLogger("tslrec_min")


class _StandardError(logging.Handler):
    """Writes records to standard error, above the bars that are there; steps with the seconds since the start."""

    verbosity, started = "normal", time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        since = f"[{time.monotonic() - self.started:8.1f} s] " if record.levelno <= logging.DEBUG else ""
        tqdm.write(since + record.getMessage(), file=sys.stderr)


_handler = _StandardError()


def set_verbosity(level: str) -> None:
    """Say how much is wanted, one of LEVELS, and count the seconds of steps from now.

    Raises:
        ValueError: there is no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"the verbosity is {level!r}; expected one of {', '.join(LEVELS)}")
    _handler.verbosity, _handler.started = level, time.monotonic()
    _logger.setLevel(LEVELS[level])
    _logger.addHandler(_handler)


def verbosity() -> str:
    """Return how much is wanted, one of LEVELS."""
    return _handler.verbosity


def progress(total: int | None, text: str, unit: str, *, initial: int = 0, leave: bool = True, shown: bool = True
             ) -> tqdm:
    """Return a progress bar on standard error; it stays hidden if that is no terminal.

    Args:
        total: number of units; None: not known.
        text: what stands before the bar.
        unit: what is counted.
        initial: units that are done already.
        leave: let the bar stand when it is full.
        shown: false hides it, as ``quiet`` does.
    """
    from tqdm import tqdm

    hidden = not shown or _handler.verbosity == "quiet" or not _speaks()
    return tqdm(total=total, desc=text, unit=unit, initial=initial, leave=leave, disable=True if hidden else None)


def note(text: str) -> None:
    """Say something that people should know, unless they want quiet."""
    _say(logging.INFO, text)


def warn(text: str) -> None:
    """Say something that people have to know, quiet or not."""
    _say(logging.WARNING, text)


def step(text: str) -> None:
    """Say what begins now, to those who want to know."""
    _say(logging.DEBUG, text)


def _say(level: int, text: str) -> None:
    if _speaks():
        if not _logger.hasHandlers():
            set_verbosity(_handler.verbosity)
        _logger.log(level, text, stacklevel=3)


def _speaks() -> bool:
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"
