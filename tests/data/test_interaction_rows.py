"""Passes over all interactions, against the same by NumPy and Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.data import interaction_rows
from tslrec_min.data.csr import offsets
from tslrec_min.data.interaction_rows import k_core_mask, lines_of_split, repeated_rows, rows_by_time

pytestmark = pytest.mark.kernel
TIMES = st.integers(-3, 3) | st.sampled_from([2**62, -2**62])
FRACTIONS = st.sampled_from([0.0, -0.0, 0.5, -0.5, -7.25, 1e300, -1e300, 3.0])
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), TIMES, FRACTIONS), max_size=200)
NAMES = st.text(st.sampled_from("ab é七"), min_size=1, max_size=5)


def columns(rows: list[tuple[int, int, int, float]], fractions: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, items = (np.array([row[place] for row in rows], np.int32) for place in range(2))
    return users, items, (np.array([row[3] for row in rows], np.float64) if fractions else
                          np.array([row[2] for row in rows], np.int64))


@given(ROWS, st.booleans())
@settings(deadline=None)
def test_order_is_that_of_a_stable_sort(rows: list[tuple[int, int, int, float]], fractions: bool) -> None:
    users, _, times = columns(rows, fractions)
    assert rows_by_time(users, times).tolist() == np.lexsort((times, users)).tolist()
    assert rows_by_time(users, None).tolist() == np.argsort(users, kind="stable").tolist()


@given(st.integers(0, 2**32), st.integers(1, 700))
@settings(deadline=None, max_examples=20)
def test_long_histories_are_in_order_too(seed: int, n_rows: int) -> None:
    random = np.random.default_rng(seed)
    users, times = random.integers(0, 2, n_rows, np.int32), random.integers(0, n_rows, n_rows)
    assert rows_by_time(users, times).tolist() == np.lexsort((times, users)).tolist()


@given(ROWS, st.booleans())
@settings(deadline=None)
def test_repeated_rows_have_an_earlier_one(rows: list[tuple[int, int, int, float]], fractions: bool) -> None:
    users, items, times = columns(rows, fractions)
    seen: set[tuple[int, int, float]] = set()
    expected = []
    for row in zip(users.tolist(), items.tolist(), times.tolist(), strict=True):
        expected.append(row in seen)
        seen.add(row)
    assert repeated_rows(users, items, times).tolist() == expected


@given(ROWS, st.integers(0, 6))
@settings(deadline=None)
def test_the_core_is_what_dropping_all_at_once_leaves(rows: list[tuple[int, int, int, float]], k: int) -> None:
    users, items, _ = columns(rows, False)
    kept = np.ones(len(rows), bool)
    while True:
        counts = (np.bincount(codes[kept], minlength=8)[codes] for codes in (users, items))
        stay = kept & np.logical_and(*(count >= k for count in counts))
        if (stay == kept).all():
            break
        kept = stay
    assert k_core_mask(users, items, k).tolist() == kept.tolist()


@given(st.lists(st.lists(st.integers(1, 4), max_size=6), max_size=5), st.lists(NAMES, min_size=9, max_size=9),
       st.integers(0, 2), st.sampled_from([1, 7, 1 << 20]), st.integers(0, 2**32))
@settings(deadline=None)
def test_lines_of_a_split(histories: list[list[int]], names: list[str], cuts: int, room: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    user_ids, item_ids = names[:len(histories)], names[5:]
    ends = [[*sorted(random.integers(0, len(history) + 1, cuts).tolist()), len(history)] for history in histories]
    expected = ""
    for user_id, history, parts in zip(user_ids, histories, ends, strict=True):
        texts = [" ".join(item_ids[item - 1] for item in history[start:end])
                 for start, end in zip([0, *parts], parts, strict=False)]
        expected += "\t".join([user_id, *texts]) + "\n"
    indptr = offsets([len(history) for history in histories])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interaction_rows, "_LINES_ROOM", room)
        found = b"".join(map(bytes, lines_of_split(user_ids, item_ids, indptr, np.array(sum(histories, []), np.int32),
                                                   np.array(ends, np.int64).reshape(-1, cuts + 1))))
    assert found.decode() == expected


@pytest.mark.parametrize(("items", "ends", "message"), [
    ([1, 3], [[1, 2]], r"items\[1\] is 3"), ([0, 1], [[1, 2]], r"items\[0\] is 0"), ([1, 2], [[1, 3]], "do not rise"),
    ([1, 2], [[2, 1]], "do not rise"), ([1, 2], [[-1, 2]], "do not rise")])
def test_what_would_reach_beyond_the_arrays(items: list[int], ends: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(lines_of_split(["u"], ["a", "b"], np.array([0, 2]), np.array(items), np.array(ends)))
    for wrong in ([-1], [0, -1]):
        codes, other = np.array(wrong), np.zeros(len(wrong), np.int32)
        for call, arguments in ((rows_by_time, (codes, None)), (repeated_rows, (other, codes, other)),
                                (k_core_mask, (codes, other, 1))):
            with pytest.raises(ValueError, match="expected numbers from 0"):
                call(*arguments)
