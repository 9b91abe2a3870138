from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.ranking import neighbours
from tslrec_min.ranking.neighbours import nearest


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_neighbours_equal_the_definition(n_items: int, width: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, size=(n_items, width)).astype(np.float32)  # zero and equal rows are among them
    asked = rng.integers(0, n_items, size=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", 7)
        places, cosines = nearest(rows, asked, k)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    exact = rows.astype(np.float64) @ rows.T / np.maximum(np.outer(norms, norms), 1e-30)
    assert places.shape == cosines.shape == (3, min(k, n_items - 1))
    for item, found, values in zip(asked, places, cosines, strict=True):
        others = np.delete(exact[item], item)
        np.testing.assert_allclose(values, exact[item, found], atol=1e-6)
        np.testing.assert_allclose(values, np.sort(others)[::-1][:k], atol=1e-6)
        assert item not in found and len(set(found)) == len(found)


def test_neighbours_tied_in_the_bits_come_in_the_order_of_the_catalogue(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 4)
    rows = np.tile(np.float32([[1, 2, 3]]), (11, 1))
    assert nearest(rows, np.array([5]), 4)[0].tolist() == [[0, 1, 2, 3]]
    assert nearest(rows, np.array([0]), 20)[0].tolist() == [list(range(1, 11))]
    assert nearest(np.float32([[3e38, 3e38], [1e-38, 1e-38]]), np.array([0]), 1)[1] == pytest.approx(1)
