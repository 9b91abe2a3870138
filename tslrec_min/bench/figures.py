"""Figures: the numbers of a benchmark report, and how times are measured against a reference."""

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
    """The share of the baseline's value by which it may get worse; None: it is not checked."""
    measures: str
    """What it measures, for the reader."""
    milliseconds: float | None = None
    """Processor time of a call, where the value is a ratio of times."""
    reference_milliseconds: float | None = None
    """The same of the reference."""


@dataclass(frozen=True)
class Effort:
    """How long each figure is measured."""

    rounds: int
    """Maximum number of turns."""
    seconds: float
    """No further turn begins after this processor time."""
    min_rounds: int = 3


def relative_time(work: Work, reference: Work, effort: Effort, measures: str,
                  tolerance: float = SPEED_TOLERANCE) -> Figure:
    """Time a work against a reference: the median over turns of the ratio of their times.

    Times are processor time of all threads: the time that other programs take doesn't count, and two works that follow
    each other meet the same load on caches and memory. The first turn isn't timed.

    Args:
        work: the code to measure.
        reference: other code for the same task, or about as much arithmetic.
        effort: how many turns.
        measures: see `Figure`, as is tolerance.
    """
    times: list[tuple[float, float]] = []
    work()
    reference()
    begin = time.process_time()
    while len(times) < effort.rounds and (len(times) < effort.min_rounds
                                          or time.process_time() - begin < effort.seconds):
        order = (work, reference) if len(times) % 2 else (reference, work)
        seconds = {each: _processor_seconds(each) for each in order}
        times.append((seconds[work], seconds[reference]))
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(mine / other for mine, other in times)
    return Figure(ratio, "lower", tolerance, measures, 1e3 * ours, 1e3 * theirs)


def _processor_seconds(work: Work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
