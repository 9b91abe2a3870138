"""What Ctrl-C does: a command is interrupted by KeyboardInterrupt; before and after it, the process ends at once.

It also ends at once while a command imports modules. There, and while Python ends, an exception may be swallowed or
come out as another one with a traceback: NumPy, interrupted in its C code, is "loaded more than once". What a process
that ends in an import leaves is what a killed one leaves, and the next command clears it away.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of the signal."""


def end_when_interrupted() -> None:
    """Let Ctrl-C end the process without a word from now on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell has it ignored in the background
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
    """Let Ctrl-C raise KeyboardInterrupt meanwhile, in a process in which it would end it."""
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        sys.stdout.flush()  # what the command has printed is not lost with the process
        signal.signal(signal.SIGINT, _end)
