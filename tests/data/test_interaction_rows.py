"""Passes over all interactions, against the same by NumPy and Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslrec_min.data import interaction_rows
from tslrec_min.data.csr import offsets
from tslrec_min.data.interaction_rows import (
    UserRows,
    k_core_of,
    lines_of_split,
    repeated_rows,
    rows_by_user,
    taken,
)

pytestmark = pytest.mark.kernel
TIMES = st.integers(-3, 3) | st.sampled_from([2**62, -2**62])
FRACTIONS = st.sampled_from([0.0, -0.0, 0.5, -0.5, -7.25, 1e300, -1e300, 3.0])
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), TIMES, FRACTIONS), max_size=200)
NAMES = st.text(st.sampled_from("ab é七"), min_size=1, max_size=5)


def columns(rows: list[tuple[int, int, int, float]], fractions: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, items = (np.array([row[place] for row in rows], np.int32) for place in range(2))
    return users, items, (np.array([row[3] for row in rows], np.float64) if fractions else
                          np.array([row[2] for row in rows], np.int64))


@pytest.fixture(params=[1, 2, 3], autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interaction_rows, "usable_processors", lambda: request.param)
    monkeypatch.setattr(interaction_rows, "_ROWS_OF_THREAD", 2)


HERE = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def in_columns(rows: UserRows) -> list[list[float]]:
    """Return the columns, after a look at where users begin."""
    assert np.repeat(np.arange(len(rows.indptr) - 1), np.diff(rows.indptr)).tolist() == rows.users.tolist()
    return [rows.users.tolist(), rows.items.tolist(), [] if rows.times is None else rows.times.tolist()]


@given(ROWS, st.booleans())
@HERE
def test_order_is_that_of_a_stable_sort(rows: list[tuple[int, int, int, float]], fractions: bool) -> None:
    users, items, times = columns(rows, fractions)
    order = np.lexsort((times, users))
    assert in_columns(rows_by_user(users, items, times, 5)) == [column[order].tolist()
                                                                for column in (users, items, times)]
    order = np.argsort(users, kind="stable")
    assert in_columns(rows_by_user(users, items, None, 5)) == [users[order].tolist(), items[order].tolist(), []]


@given(st.integers(0, 2**32), st.integers(1, 3000), st.sampled_from([1, 2, 600, 3000]))
@HERE
def test_many_users_and_long_histories_are_in_order_too(seed: int, n_rows: int, n_users: int) -> None:
    random = np.random.default_rng(seed)
    users, items = random.integers(0, n_users, n_rows, np.int32), random.integers(0, 9, n_rows, np.int32)
    for times in (random.integers(0, n_rows, n_rows), np.arange(n_rows)):
        order = np.lexsort((times, users))
        assert in_columns(rows_by_user(users, items, times, n_users)) == [
            column[order].tolist() for column in (users, items, times)]


@given(ROWS, st.booleans())
@HERE
def test_repeated_rows_have_an_earlier_one(rows: list[tuple[int, int, int, float]], fractions: bool) -> None:
    ordered = rows_by_user(*columns(rows, fractions), 5)
    seen: set[tuple[int, int, float]] = set()
    expected = []
    for row in zip(*in_columns(ordered), strict=True):
        expected.append(row in seen)
        seen.add(row)
    repeated = repeated_rows(ordered)
    assert repeated.tolist() == expected
    assert list(zip(*in_columns(ordered.where(~repeated)), strict=True)) == list(
        dict.fromkeys(zip(*in_columns(ordered), strict=True)))


@given(ROWS, st.integers(0, 6), st.booleans())
@HERE
def test_the_core_is_what_dropping_all_at_once_leaves(rows: list[tuple[int, int, int, float]], k: int, some: bool
                                                      ) -> None:
    ordered = rows_by_user(*columns(rows, False), 5)
    assert ordered.times is not None
    found = ordered.times > 0 if some else np.ones(len(rows), bool)
    kept = found.copy()
    while True:
        counts = (np.bincount(codes[kept], minlength=8)[codes] for codes in (ordered.users, ordered.items))
        stay = kept & np.logical_and(*(count >= k for count in counts))
        if (stay == kept).all():
            break
        kept = stay
    user_counts, item_counts = k_core_of(ordered, found, k, 6)
    assert found.tolist() == kept.tolist()
    assert user_counts.tolist() == np.bincount(ordered.users[kept], minlength=5).tolist()
    assert item_counts.tolist() == np.bincount(ordered.items[kept], minlength=6).tolist()


@given(ROWS, st.permutations(range(5)), st.permutations(range(6)), st.booleans(), st.booleans(), st.booleans())
@HERE
def test_rows_are_taken_in_the_order_of_users(rows: list[tuple[int, int, int, float]], users: list[int],
                                              numbers: list[int], fractions: bool, timed: bool, some: bool) -> None:
    codes, items, times = columns(rows, fractions)
    ordered = rows_by_user(codes, items, times if timed else None, 5)
    kept = ordered.items != 1 if some else np.ones(len(rows), bool)
    counts = np.bincount(ordered.users[kept], minlength=5)
    indptr, found, found_times = taken(ordered, kept, counts, np.array(users), np.array(numbers, np.int32))
    chosen = np.concatenate([np.flatnonzero((ordered.users == user) & kept) for user in users])
    assert indptr.tolist() == offsets(counts[users]).tolist()
    assert found.tolist() == np.array(numbers)[ordered.items[chosen]].tolist()
    if ordered.times is not None:
        assert found_times is not None and found_times.tolist() == ordered.times[chosen].tolist()


@given(st.lists(st.lists(st.integers(1, 4), max_size=6), max_size=5), st.lists(NAMES, min_size=9, max_size=9),
       st.integers(0, 2), st.sampled_from([1, 7, 1 << 20]), st.integers(0, 2**32))
@HERE
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
    one = np.zeros(1, np.int32)
    for users, codes in (([-1], [0]), ([2], [0]), ([0], [-1])):
        with pytest.raises(ValueError, match=r"\[0\] is .*; expected 0"):
            rows_by_user(np.array(users), np.array(codes), None, 2)
    with pytest.raises(ValueError, match=r"items\[0\] is 0"):
        taken(rows_by_user(one, one, None, 1), np.ones(1, bool), *np.array([[1], [0]]), np.empty(0, np.int32))
    with pytest.raises(ValueError, match=r"items\[0\] is 0"):
        k_core_of(rows_by_user(one, one, None, 1), np.ones(1, bool), 1, 0)
