"""The statistics behind figures and tables: bins, intervals over users, principal components of item vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.artifact import Results
from ..evaluation.summary import BoolArray
from ..ranking.metrics import metric_values
from ..ranking.significance import BootstrapTest, paired_bootstrap

RESAMPLES = 2000
"""Resamples of the users for an interval: its ends move by about 2% of its width from seed to seed."""
_BINS = 24
_BLOCK = 8192
"""Item vectors that are converted to float64 at a time."""

FloatArray = NDArray[np.float64]


def bins(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count values from 0 in bins between whole numbers; bins widen with the values where those differ tenfold.

    Returns:
        Counts int64 [n] and edges int64 [n+1]: ``counts[j]`` values lie in ``edges[j] .. edges[j+1] - 1``.
    """
    low, high = max(1, int(values.min(initial=1))), int(values.max(initial=1)) + 1
    spaced = np.geomspace(low, high, _BINS + 1) if high > 10 * low else np.linspace(low, high, _BINS + 1)
    edges = np.unique(np.round(spaced).astype(np.int64))
    return np.histogram(np.maximum(values, low), edges)[0], edges


@dataclass(frozen=True)
class ArmFigure:
    """A metric of an arm for a group of users, over the means of its runs, with 95% intervals over users."""

    arm: str
    metric: str
    group: str
    users: int
    own: BootstrapTest
    """The metric itself; its p-value means nothing."""
    lift: BootstrapTest | None
    """The difference from the first arm; None for that arm."""


def arm_figures(results: Results, metrics: tuple[str, ...]) -> Iterator[ArmFigure]:
    """Give every arm's metrics with intervals, seen items left out: for all users, then by group."""
    groups: dict[str, BoolArray] = {"all": np.ones(len(results.user_ids), np.bool_), **results.groups.members()}
    ranks = results.ranks["filtered"]
    baseline, *_ = ranks
    for metric in metrics:
        values = {arm: np.mean([metric_values(run, metric) for run in runs], axis=0) for arm, runs in ranks.items()}
        for group, members in groups.items():
            for arm, of_users in values.items():
                if members.any():
                    ours, theirs = of_users[members], values[baseline][members]
                    yield ArmFigure(arm, metric, group, len(ours), _interval(ours, np.zeros_like(ours)),
                                    None if arm == baseline else _interval(ours, theirs))


def _interval(ours: FloatArray, theirs: FloatArray) -> BootstrapTest:
    return paired_bootstrap(ours, theirs, n_resamples=RESAMPLES)


def principal_plane(vectors: np.ndarray) -> tuple[FloatArray, float]:
    """Project item vectors, brought to length 1, onto their first two principal components.

    Args:
        vectors: float [I+1, D], row 0 padding.

    Returns:
        float64 [I, 2], centred; and the share of the variance that the plane holds. The largest entry of each
        direction is positive, so the same vectors give the same picture everywhere.
    """
    n_items, width = len(vectors) - 1, vectors.shape[1]
    total, square = np.zeros(width), np.zeros((width, width))
    for block in _unit_blocks(vectors):
        total += block.sum(axis=0)
        square += block.T @ block
    mean = total / n_items
    variances, directions = np.linalg.eigh(square / n_items - np.outer(mean, mean))
    plane = directions[:, :-3:-1]  # [D, 2]
    plane = plane * np.sign(plane[np.abs(plane).argmax(axis=0), np.arange(plane.shape[1])])
    points = np.concatenate([(block - mean) @ plane for block in _unit_blocks(vectors)])
    if points.shape[1] == 1:
        points = np.column_stack([points, np.zeros(n_items)])
    known = np.maximum(variances, 0)
    return points, float(known[-2:].sum() / known.sum()) if known.sum() else 0.0


def _unit_blocks(vectors: np.ndarray) -> Iterator[FloatArray]:
    for start in range(1, len(vectors), _BLOCK):
        block = vectors[start:start + _BLOCK].astype(np.float64)
        yield block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)


def smoothed(values: list[float], window: int) -> FloatArray:
    """Return the mean of each value and those before it, at most `window` of them, float64 [n]."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))
