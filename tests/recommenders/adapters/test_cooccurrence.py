from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.data.dataset import Histories
from tslrec_min.recommenders.adapters.cooccurrence import neighbour_sums

from .factories import N_ITEMS


@pytest.mark.parametrize("window", [1, 2, 3, 50])
def test_neighbour_sums_add_up_pairs_of_different_items_of_a_history(window: int) -> None:
    rows = np.random.default_rng(3).normal(size=(N_ITEMS, 4))
    histories = [[1, 30, 5], [], [9, 1], [4, 4, 1, 30, 4], [7]]
    expected, degrees = np.zeros_like(rows), np.zeros(N_ITEMS, np.int64)
    for history in histories:
        for place, item in enumerate(history):
            for other_place, other in enumerate(history):
                if item != other and abs(place - other_place) <= window:
                    expected[item - 1] += rows[other - 1]
                    degrees[item - 1] += 1
    flat = Histories(np.cumsum([0, *map(len, histories)]), np.concatenate(histories).astype(np.int32))
    sums, found = neighbour_sums(rows, flat, window)
    np.testing.assert_allclose(sums, expected, atol=1e-12)
    np.testing.assert_array_equal(found, degrees)
