from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.raw.ascii_columns import cut
from tslrec_min.data.raw.interactions import Collector, RawInteractions
from tslrec_min.data.raw.rows import Chunk


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=40))
def test_the_first_of_equal_rows_stays(rows: list[tuple[int, int, int]]) -> None:
    users, items, times = (np.array([row[column] for row in rows], np.int32) for column in range(3))
    found = RawInteractions(["a", "b", "c"], ["x", "y", "z"], users, items, times / 2).without_duplicates()
    assert found.times is not None
    kept = list(zip(found.users.tolist(), found.items.tolist(), (found.times * 2).tolist(), strict=True))
    assert kept == sorted(dict.fromkeys(rows), key=lambda row: (row[0], row[2]))
    assert found.duplicates == len(rows) - len(kept)


@given(st.lists(st.tuples(*[st.sampled_from(["a", "bb", "c" * 20, ""])] * 2), min_size=1, max_size=40),
       st.integers(1, 9))
def test_columns_of_bytes_give_the_ids_of_columns_of_text(rows: list[tuple[str, str]], size: int) -> None:
    found = []
    for as_bytes in (True, False):
        collector = Collector("rows", PrepareConfig(on_bad_row="skip"), timed=False)
        for start in range(0, len(rows), size):
            part = rows[start:start + size]
            fields = cut("".join(f"{user},{item}\n" for user, item in part).encode(), ",", 2)
            assert fields is not None
            columns = fields if as_bytes else [list(column) for column in fields]
            collector.add(Chunk(range(start, start + len(part)), dict(zip(("user", "item"), columns, strict=True)),
                                is_text=True))
        raw = collector.finish()
        pairs = [(raw.user_ids[user], raw.item_ids[item]) for user, item in zip(raw.users, raw.items, strict=True)]
        assert pairs == [row for row in rows if all(row)]
        found.append((raw.item_ids, raw.bad_rows))
    assert found[0] == found[1]
    assert set(found[0][0]) == {item for user, item in rows if user and item}  # none of a row without a user
