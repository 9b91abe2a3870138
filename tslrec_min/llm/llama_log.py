"""llama.cpp's log: captured instead of printed, so that error messages can quote it."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp

_ERROR = 4  # GGML_LOG_LEVEL_ERROR


class LlamaLog:
    """The last error lines that were logged."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=3)

    def add(self, level: int, text: str) -> None:
        """Keep a line if it is an error."""
        if level == _ERROR and text.strip():
            self._errors.append(text.strip())

    def __str__(self) -> str:
        return "; ".join(self._errors) or "no reason given"


@contextmanager
def captured_llama_log() -> Iterator[LlamaLog]:
    """Capture llama.cpp's log during a block; the callback set before is restored.

    Ctrl-C while llama.cpp calls Python can't be raised through llama.cpp: it is raised at the end of the block.
    """
    log, hook, interrupts = LlamaLog(), sys.unraisablehook, []

    def keep_interrupt(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            interrupts.append(unraisable.exc_type)
        else:
            hook(unraisable)

    @llama_cpp.llama_log_callback
    def keep(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
        log.add(level, text.decode("utf-8", errors="replace"))

    before, data = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.byref(before), ctypes.byref(data))
    llama_cpp.llama_log_set(keep, None)
    sys.unraisablehook = keep_interrupt
    try:
        yield log
    finally:
        sys.unraisablehook = hook
        llama_cpp.llama_log_set(before, data)
    if interrupts:
        raise KeyboardInterrupt
