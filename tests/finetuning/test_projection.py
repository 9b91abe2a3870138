"""The projection of a tuned model's states."""

from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.finetuning.projection import Projection
from tslrec_min.recommenders.counting.content import half_whitened


def test_it_starts_as_the_vectors_of_content() -> None:
    states = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32) * [9, 5, 3, 1, 1, 0.1] + 4
    start = Projection.start(states.astype(np.float32), 192)
    known = np.concatenate([np.zeros((1, 6), np.float32), states]).astype(np.float32)
    expected, _ = half_whitened(known, known[:0])
    assert start.vectors(states) == pytest.approx(expected[1:], abs=1e-5)
    projected = states @ start.weight.T + start.bias
    assert (projected ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)


def test_it_has_at_most_as_many_dimensions_as_there_are_components() -> None:
    states = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    assert Projection.start(states, 192).weight.shape == (3, 6)
    assert Projection.start(states, 2).weight.shape == (2, 6)
    alike = np.ones((4, 6), np.float32)
    assert np.isfinite(Projection.start(alike, 5).vectors(alike)).all()
