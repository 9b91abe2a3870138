from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.runtime.background import begun, each_ahead, one_ahead


def test_what_has_begun_gives_its_value_or_its_error() -> None:
    assert begun(lambda: 3)() == 3
    failed = begun(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failed()


def test_it_runs_beside_the_caller() -> None:
    go = threading.Event()
    waits = begun(lambda: go.wait(10))
    go.set()
    assert waits()


@given(st.lists(st.integers()), st.integers(1, 5))
def test_items_come_in_their_order(items: list[int], count: int) -> None:
    assert list(one_ahead(items)) == items
    assert list(each_ahead(str, one_ahead(items), count)) == [(item, str(item)) for item in items]


def test_errors_come_where_they_would_come_without_threads() -> None:
    found: list[int] = []
    with pytest.raises(ValueError, match="x"):
        for item in one_ahead(int(text) for text in "12x3"):
            found.append(item)
    assert found == [1, 2]
    with pytest.raises(ZeroDivisionError):
        for _, value in each_ahead(lambda divisor: 12 // divisor, iter([3, 4, 0, 5]), 2):
            found.append(value)
    with pytest.raises(ValueError, match="x"):
        for _, value in each_ahead(lambda number: number + 4, (int(text) for text in "12x3"), 2):
            found.append(value)
    assert found == [1, 2, 4, 3, 5, 6]
