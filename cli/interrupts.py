"""What Ctrl-C does: it raises KeyboardInterrupt in a command; before and after it, the process exits at once.

The process also exits at once while a command imports modules: there, and while Python shuts down, an exception may be
swallowed or reported as another one (NumPy, interrupted in its C code, is "loaded more than once"). Leftovers are those
of a killed process, which the next command removes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit status after Ctrl-C by the convention of shells: 128 plus the signal number."""


def end_when_interrupted() -> None:
    """Let Ctrl-C end the process silently from now on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in the background, where it is ignored
        signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end()
        frame = frame.f_back
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in this block, if it would otherwise end the process."""
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        sys.stdout.flush()  # so that the command's output is not lost with the process
        signal.signal(signal.SIGINT, _end)
