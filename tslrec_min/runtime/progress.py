"""Progress bars, notes and warnings on standard error; standard output is only for results.

``quiet`` shows errors, warnings and the licence of a downloaded model; ``normal`` adds notes and progress: bars on a
terminal, else a line every 20 seconds; ``verbose`` adds a line per step with the seconds since the start. Of the
processes that torchrun started only the first one logs.

Notes, steps and warnings are records of the logger ``tslrec_min`` (INFO, DEBUG, WARNING). `set_verbosity`, which the
command line calls, gives it a level and a handler that writes to standard error. Without that call the program's own
handlers and levels apply; if it has none, ``normal`` is used.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from .progress_lines import ProgressLines

if TYPE_CHECKING:
    from tqdm import tqdm

LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}
_logger = logging.getLogger("tslrec_min")


class _StandardError(logging.Handler):
    """Writes records to standard error, above progress bars; steps with the seconds since the start."""

    verbosity, started = "normal", time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        since = f"[{time.monotonic() - self.started:8.1f} s] " if record.levelno <= logging.DEBUG else ""
        tqdm.write(since + record.getMessage(), file=sys.stderr)


_handler = _StandardError()


def set_verbosity(level: str) -> None:
    """Set how much is logged, one of LEVELS, and count the seconds of steps from now.

    Raises:
        ValueError: there is no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"the verbosity is {level!r}; expected one of {', '.join(LEVELS)}")
    _handler.verbosity, _handler.started = level, time.monotonic()
    _logger.setLevel(LEVELS[level])
    _logger.addHandler(_handler)
    _logger.propagate = False  # else a root handler would print every message again


def verbosity() -> str:
    """Return how much is logged, one of LEVELS."""
    return _handler.verbosity


def progress(total: int | None, text: str, unit: str, *, initial: int = 0, leave: bool = True, shown: bool = True,
             even: bool = True) -> tqdm | ProgressLines:
    """Return a progress bar, or lines of progress if standard error is no terminal.

    Args:
        total: number of units; None: unknown.
        text: label.
        unit: what is counted, in the singular.
        initial: number of units that were done before.
        leave: whether the bar stays on the terminal at the end.
        shown: whether anything is shown.
        even: whether the units take about the same time, so that the time left follows from those done.
    """
    hidden = not shown or _handler.verbosity == "quiet" or not _logs()
    if not hidden and not (sys.stderr and sys.stderr.isatty()):
        return ProgressLines(total, text, unit, initial, note, even=even)
    from tqdm import tqdm

    return tqdm(total=total, desc=text, unit=unit, initial=initial, leave=leave, disable=hidden,
                bar_format=None if even else "{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}s, {elapsed}")


def note(text: str) -> None:
    """Log something that users should know, unless quiet."""
    _say(logging.INFO, text)


def warn(text: str) -> None:
    """Log something that users must know, even if quiet."""
    _say(logging.WARNING, text)


def step(text: str) -> None:
    """Log the step that begins now, if verbose."""
    _say(logging.DEBUG, text)


def _say(level: int, text: str) -> None:
    if _logs():
        if not _logger.hasHandlers():
            set_verbosity(_handler.verbosity)
        _logger.log(level, text, stacklevel=3)


def _logs() -> bool:
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"
