from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.data.histories import Histories


@given(st.lists(st.lists(st.integers(1, 9), max_size=7), min_size=1, max_size=8), st.integers(1, 5))
def test_cuts_of_histories(rows: list[list[int]], count: int) -> None:
    indptr = np.cumsum([0, *map(len, rows)])
    histories = Histories(indptr, np.array([item for row in rows for item in row], np.int32))
    kept = np.minimum([len(row) for row in rows], count)
    for user, row in enumerate(rows):
        assert histories.last(count).of(user).tolist() == row[-count:]
        assert histories.first(kept).of(user).tolist() == row[:count]
