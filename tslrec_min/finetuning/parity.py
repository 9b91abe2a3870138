"""How far a conversion has moved the pooled states of prompts, and whether that is too far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import TslrecError

_NEIGHBOURS = 10


def compare_states(reference: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Compare the pooled states of the same prompts under two versions of a model.

    Args:
        reference: float32 [n, D], n >= 2.
        other: float32 [n, D].

    Returns:
        ``mean_cosine`` and ``min_cosine`` over the prompts, and ``neighbour_overlap_10``: the mean share of a
        prompt's 10 nearest other prompts by cosine (all others, if there are fewer) that stay.

    Raises:
        TslrecError: a state is zero or not finite.
    """
    if reference.shape != other.shape or reference.ndim != 2 or len(reference) < 2:
        raise ValueError(f"states of shape {reference.shape} and {other.shape}; expected the same [n >= 2, D]")
    left, right = _unit_rows(reference), _unit_rows(other)
    cosines = (left * right).sum(axis=1)  # [n]
    kept = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(_neighbours(left), _neighbours(right), strict=True)]
    return {"mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min()),
            "neighbour_overlap_10": float(np.mean(kept))}


def check_parity(report: Mapping[str, float], thresholds: Mapping[str, float]) -> None:
    """Compare a report of `compare_states` with the least values allowed.

    Raises:
        TslrecError: a value is below its threshold.
    """
    low = [f"{name} is {report[name]:.4f}, expected at least {least}" for name, least in thresholds.items()
           if not report[name] >= least]
    if low:
        raise TslrecError("the converted model differs too much from the original: " + "; ".join(low)
                          + "; choose a finer quantisation")


def _unit_rows(states: np.ndarray) -> np.ndarray:
    states = states.astype(np.float64)
    norms = np.linalg.norm(states, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise TslrecError("a pooled state is zero or not finite; the model or its conversion is broken")
    return states / norms


def _neighbours(units: np.ndarray) -> np.ndarray:
    """Return the nearest other rows of each row, int64 [n, min(10, n - 1)]; ties go to the lower row.

    It does not use `ranking.neighbours.nearest`, which is in float32: near ties, and so the overlap, could change.
    """
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, : min(_NEIGHBOURS, len(units) - 1)]
