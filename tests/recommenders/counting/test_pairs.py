from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders.counting import pairs
from tslrec_min.recommenders.counting.pairs import transition_counts

from ..factories import dense_rows, histories_of

N_ITEMS = 7


def plain_counts(rows: list[list[int]], places: int, exponent: float) -> Counter:
    counts: Counter = Counter()
    for row in rows:
        for later, item in enumerate(row):
            for before in range(max(0, later - places), later):
                counts[row[before], item] += (later - before) ** -exponent
    return counts


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, N_ITEMS), max_size=12), max_size=8), st.integers(1, 15),
       st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([4, 1 << 24]))
def test_counts_equal_those_of_a_dictionary(rows: list[list[int]], places: int, exponent: float, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_PAIRS_AT_ONCE", at_once)
        counts = transition_counts(histories_of(rows), N_ITEMS, places, exponent)
    expected = np.zeros((N_ITEMS + 1, N_ITEMS + 1))
    for pair, count in plain_counts(rows, places, exponent).items():
        expected[pair] = count
    np.testing.assert_allclose(dense_rows(counts, N_ITEMS + 1), expected, rtol=1e-12)
    assert len(counts.items) == np.count_nonzero(expected) and len(counts) == N_ITEMS + 1
