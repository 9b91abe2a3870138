"""How far a conversion has moved the pooled states of prompts."""

from __future__ import annotations

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
        prompt's 10 nearest other prompts by cosine (all others, if there are fewer) that stay the same.

    Raises:
        TslrecError: a state is zero or not finite.
    """
    left, right = _unit_rows(reference), _unit_rows(other)
    cosines = (left * right).sum(axis=1)  # [n]
    kept = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(_neighbours(left), _neighbours(right), strict=True)]
    return {"mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min()),
            "neighbour_overlap_10": float(np.mean(kept))}


def _unit_rows(states: np.ndarray) -> np.ndarray:
    states = states.astype(np.float64)
    norms = np.linalg.norm(states, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise TslrecError("a pooled state is zero or not finite; the model or its conversion is broken")
    return states / norms


def _neighbours(units: np.ndarray) -> np.ndarray:
    """Return the nearest other rows of each row, int64 [n, min(10, n - 1)]; ties go to the lower row.

    `ranking.neighbours.nearest` is not used: it is in float32, so near ties, and the overlap, could change.
    """
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, : min(_NEIGHBOURS, len(units) - 1)]
