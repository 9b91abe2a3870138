"""Figures: what a report of the benchmark holds, and how they are timed against a reference."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

BETTER = ("higher", "lower")
SPEED_TOLERANCE = 0.6
"""A time may rise to 1.6 times the baseline's: room for noise, and less than twice the work."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One number of a report."""

    value: float
    better: str
    """``higher`` or ``lower``."""
    tolerance: float | None
    """By how much of the baseline's value it may get worse; None: it is not checked."""
    measures: str
    """What it is, for people."""
    milliseconds: float | None = None
    """Processor time of a call, where the value is a ratio of times."""
    reference_milliseconds: float | None = None
    """The same of the reference."""


@dataclass(frozen=True)
class Effort:
    """How long is measured."""

    rounds: int
    """Most turns of a figure."""
    seconds: float
    """No further turn begins after so many seconds of processor time."""
    least_rounds: int = 3


def medians(works: dict[str, Work], repeats: int, pause: float = 0.0) -> dict[str, float]:
    """Return the median seconds of each work; they take turns, after a first round that isn't timed.

    `pause` seconds go by after each: OpenMP's threads spin on for a while, and each library has threads of its own.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
            time.sleep(pause)
    return {name: statistics.median(values) for name, values in seconds.items()}


def relative_time(work: Work, reference: Work, effort: Effort, measures: str,
                  tolerance: float = SPEED_TOLERANCE) -> Figure:
    """Time a work against a reference: the median over turns of the ratio of their times.

    What is counted is processor time, of all threads: while other programs have the processors nothing is counted, and
    two works that follow each other at once meet the same load on caches and memory. The first turn isn't timed.

    Args:
        work: what is measured.
        reference: what it is measured against: other code for the same, or about as much arithmetic.
        effort: how many turns.
        measures: what work and reference are, for people.
        tolerance: of the figure.
    """
    times: list[tuple[float, float]] = []
    work()
    reference()
    begin = time.process_time()
    while len(times) < effort.rounds and (len(times) < effort.least_rounds
                                          or time.process_time() - begin < effort.seconds):
        if len(times) % 2:
            times.append((_processor_seconds(work), _processor_seconds(reference)))
        else:
            other = _processor_seconds(reference)
            times.append((_processor_seconds(work), other))
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(mine / other for mine, other in times)
    return Figure(ratio, "lower", tolerance, measures, 1e3 * ours, 1e3 * theirs)


def _processor_seconds(work: Work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
