from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.report.statistics import bins, principal_plane

pytest.importorskip("matplotlib")


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_bins_count_every_value_once(values: list[int]) -> None:
    counts, edges = bins(np.array(values))
    assert counts.sum() == len(values) and len(edges) == len(counts) + 1 and (np.diff(edges) > 0).all()


def test_plane_is_that_of_the_singular_vectors() -> None:
    random = np.random.default_rng(0)
    vectors = np.vstack([np.zeros(6), random.normal(size=(40, 6)) + random.normal(size=6)]).astype(np.float32)
    points, share = principal_plane(vectors)
    units = vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    left, singular, _ = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * singular[:2]), atol=1e-5)
    assert share == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())
