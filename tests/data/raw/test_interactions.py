from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.data.raw.interactions import RawInteractions


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=40))
def test_the_first_of_equal_rows_stays(rows: list[tuple[int, int, int]]) -> None:
    users, items, times = (np.array([row[column] for row in rows], np.int32) for column in range(3))
    found = RawInteractions(["a", "b", "c"], ["x", "y", "z"], users, items, times / 2).without_duplicates()
    assert found.times is not None
    kept = list(zip(found.users.tolist(), found.items.tolist(), (found.times * 2).tolist(), strict=True))
    assert kept == sorted(dict.fromkeys(rows), key=lambda row: (row[0], row[2]))
    assert found.duplicates == len(rows) - len(kept)
