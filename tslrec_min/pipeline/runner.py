"""Runs the stages of a chain, keeps account of them, and says how long they will take."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.progress import note, set_verbosity, verbosity
from ..storage.artifacts import read_json
from .trainings import Recommenders, make_run, make_sum

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..runtime.progress_lines import ProgressLines

_SAID_SECONDS = 20.0
"""A stage that will take less begins without a word."""
_PRIOR_SECONDS = 60.0
"""So long the expected times are believed; then those that stages really took are taken into account."""


@dataclass
class Runner:
    """Runs stages and records them."""

    out: Path
    bar: tqdm | ProgressLines
    """Counts stages."""
    expected: dict[str, float] = field(default_factory=dict)
    """Stage that is to come -> seconds."""
    stages: list[dict[str, Any]] = field(default_factory=list)
    took: float = _PRIOR_SECONDS
    """Seconds that stages took which were expected to take..."""
    expected_of_made: float = _PRIOR_SECONDS
    """... so many."""

    def __call__(self, name: str, work: Callable[[Path], Any]) -> None:
        """Run one stage into the folder `name`."""
        self._describe(name)
        before = self._record(name)
        if not before:
            self._say(name, self.expected.get(name, 0))
        work(self.out / name)
        self._account(name, before)

    @property
    def pace(self) -> float:
        """How much longer stages take than expected: a factor."""
        return self.took / self.expected_of_made

    def expect(self, expected: Mapping[str, float]) -> None:
        """Take in how long further stages will take."""
        self.expected |= expected

    def _describe(self, text: str) -> None:
        left = sum(self.expected.values()) * self.pace
        self.bar.set_description(f"{text} (about {_duration(left)} left)" if left >= _SAID_SECONDS else text)

    def _say(self, what: str, seconds: float) -> None:
        """Say how long something longer will take that is expected to take so many seconds."""
        if seconds >= _SAID_SECONDS:
            note(f"{what}: about {_duration(seconds * self.pace)}, as a rough guess")

    def make(self, recommenders: Recommenders, jobs: int, compute: dict[str, Any]) -> None:
        """Make recommenders, training `jobs` at a time."""
        for name, arguments in recommenders.alone.items():
            self(name, partial(make_run, **arguments, **compute))
        self._train_all(recommenders.trained, jobs, compute)
        for name, arguments in recommenders.sums.items():
            self(name, partial(make_sum, **arguments, **compute))

    def _train_all(self, trainings: Mapping[str, dict[str, Any]], jobs: int, compute: dict[str, Any]) -> None:
        """Run trainings (name of the folder -> arguments), `jobs` at a time in processes that share the threads."""
        jobs = min(jobs, len(trainings))  # one alone gets all threads
        if jobs <= 1:
            for name, arguments in trainings.items():
                self(name, partial(make_run, **arguments, **compute))
            return
        own = compute | {"threads": max(1, compute["threads"] // jobs)}
        before = {name: self._record(name) for name in trainings}
        # Spawned, not forked: a fork of a process that has used threads can hang.
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), set_verbosity, (verbosity(),)) as pool:
            running = {pool.submit(_train_alone, self.out / name, **arguments, **own): name
                       for name, arguments in trainings.items()}
            self._describe(f"{jobs} trainings at a time")
            self._say(f"train, {jobs} at a time", sum(self.expected.get(name, 0) for name in trainings
                                                      if not before[name]))
            try:
                for future in as_completed(running):
                    future.result()
                    self._account(running[future], before[running[future]], jobs)
            except BaseException:  # trainings that have started run to their end; the others do not start
                pool.shutdown(cancel_futures=True)
                raise
        order = {name: place for place, name in enumerate(trainings)}
        self.stages.sort(key=lambda stage: order.get(stage["name"], -1))  # in the order of the list, not of their ends

    def _account(self, name: str, before: str, jobs: int = 1) -> None:
        record, made = read_json(self.out / name / "config.json"), self._record(name) != before
        self.stages.append({"name": name, "made": made} | {
            key: record[key] for key in ("wall_seconds", "peak_memory_mib", "hash")})
        seconds = self.expected.pop(name, None)
        if made and seconds is not None:
            self.took += record["wall_seconds"] / jobs  # expected is the time with all threads
            self.expected_of_made += seconds
        self.bar.update()

    def _record(self, name: str) -> str:
        """Return the text of a stage's record, which changes when the stage is made; empty without one."""
        path = self.out / name / "config.json"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _train_alone(out: Path, **arguments: Any) -> None:
    """Train in a separate process, without a progress bar, as several would overwrite each other."""
    import torch

    torch.set_num_threads(arguments["threads"])
    make_run(out, **arguments | {"label": ""})


def _duration(seconds: float) -> str:
    """Return a rounded time in words."""
    if seconds < 90:
        return f"{round(seconds, -1):.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
