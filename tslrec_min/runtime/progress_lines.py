"""Progress without a terminal, as in a log file: every 20 seconds a line with what a bar would show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

SECONDS = 20.0
"""Between two lines."""


class ProgressLines:
    """What progress uses of a tqdm bar: `total`, `n`, `update`, `set_description`, `set_postfix`, `close`."""

    def __init__(self, total: int | None, text: str, unit: str, initial: int, say: Callable[[str], None], *,
                 even: bool = True) -> None:
        """Start the lines, which end with `close`.

        Args:
            total: number of units; None: unknown.
            text: what is done.
            unit: what is counted, in the singular.
            initial: number of units that were done before.
            say: takes a line.
            even: whether the time left follows from the units done.
        """
        self.total, self.n = total, initial
        self._even = even
        self._text, self._unit, self._initial, self._figures = text, unit, initial, ""
        self._started, self._say = time.monotonic(), say
        _Writer.open(self)

    def update(self, n: int = 1) -> None:
        """Count `n` more units."""
        self.n += n

    def set_description(self, text: str) -> None:
        """Say what is done."""
        self._text = text

    def set_postfix(self, **figures: Any) -> None:
        """Show figures."""
        self._figures = ", ".join(f"{name} {value}" for name, value in figures.items())

    def close(self) -> None:
        """Write no more lines."""
        _Writer.close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def line(self) -> str:
        """Return what a line says of this task."""
        seconds, done = time.monotonic() - self._started, self.n - self._initial
        total = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.n}{total} {self._unit}s", f"{_clock(seconds)} so far"]
        if self.total is not None and done and self._even:
            parts.append(f"about {_clock(seconds * (self.total - self.n) / done)} left")
        text = f"{self._text}: " if self._text else ""
        return text + ", ".join(parts) + (f" ({self._figures})" if self._figures else "")


class _Writer:
    """One thread writes a line for all open tasks, the outermost first."""

    lock = threading.Lock()
    tasks: list[ProgressLines] = []  # noqa: RUF012 # one for the program
    thread: threading.Thread | None = None
    ended = threading.Event()

    @classmethod
    def open(cls, task: ProgressLines) -> None:
        with cls.lock:
            cls.tasks.append(task)
            if cls.thread is None:
                cls.ended = threading.Event()
                cls.thread = threading.Thread(target=cls._write, args=(cls.ended,), name="progress", daemon=True)
                cls.thread.start()

    @classmethod
    def close(cls, task: ProgressLines) -> None:
        with cls.lock:
            cls.tasks = [other for other in cls.tasks if other is not task]
            if not cls.tasks and cls.thread is not None:
                cls.ended.set()
                cls.thread = None

    @classmethod
    def _write(cls, ended: threading.Event) -> None:
        while not ended.wait(SECONDS):
            with cls.lock:
                tasks = list(cls.tasks)
            if tasks and not ended.is_set():
                tasks[-1]._say("; ".join(task.line() for task in tasks))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
