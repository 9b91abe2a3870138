"""What is said on standard error while something runs, as much of it as is wanted.

Standard output is for results alone. ``quiet`` leaves errors, warnings and the licence of a model that is fetched;
``normal`` adds progress bars, where standard error is a terminal, and notes; ``verbose`` adds a line per step with the
seconds since the start. Of the processes that torchrun started the first one speaks.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

LEVELS = ("quiet", "normal", "verbose")


@dataclass
class _Wanted:
    level: str = "normal"
    started: float = field(default_factory=time.monotonic)


_wanted = _Wanted()


def set_verbosity(level: str) -> None:
    """Say how much is wanted, one of LEVELS, and count the seconds of steps from now.

    Raises:
        ValueError: there is no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"the verbosity is {level!r}; expected one of {', '.join(LEVELS)}")
    _wanted.level, _wanted.started = level, time.monotonic()


def verbosity() -> str:
    """Return how much is wanted, one of LEVELS."""
    return _wanted.level


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

    hidden = not shown or _wanted.level == "quiet" or not _speaks()
    return tqdm(total=total, desc=text, unit=unit, initial=initial, leave=leave, disable=True if hidden else None)


def note(text: str) -> None:
    """Say something that people should know, unless they want quiet."""
    if _wanted.level != "quiet":
        _say(text)


def step(text: str) -> None:
    """Say what begins now, to those who want to know."""
    if _wanted.level == "verbose":
        _say(f"[{time.monotonic() - _wanted.started:8.1f} s] {text}")


def _say(text: str) -> None:
    from tqdm import tqdm

    if _speaks():
        tqdm.write(text, file=sys.stderr)  # above the bars that are there


def _speaks() -> bool:
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"
