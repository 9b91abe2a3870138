from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.data.seen import SeenItems
from tslrec_min.recommenders.sampling import sample_negatives

pytestmark = pytest.mark.kernel

@pytest.fixture
def seen():
    """Four users of nine items: some items, none, all but one, the first and last ones with a repeat."""
    histories = [[4, 2, 7], [], [1, 2, 3, 4, 5, 7, 8, 9], [9, 1, 9, 2, 8]]
    indptr = np.cumsum([0] + [len(history) for history in histories])
    return SeenItems.from_histories(indptr, sum(histories, []), 9)


def test_seen_items_are_sorted_and_unique(seen):
    rows = [row.tolist() for row in np.split(seen.items, seen.indptr[1:-1])]
    assert rows == [[2, 4, 7], [], [1, 2, 3, 4, 5, 7, 8, 9], [1, 2, 8, 9]]
    assert seen.items.dtype == np.int32 and seen.indptr.dtype == np.int64
    assert np.diff(seen.indptr)[[3, 1]].tolist() == [4, 0]


def test_seen_items_of_nobody():
    nobody = SeenItems.from_histories([0], [], 5)
    assert len(nobody.items) == 0 and nobody.indptr.tolist() == [0]
    assert sample_negatives(nobody, [], [], 3, seed=0, epoch=0).shape == (0, 3)


@pytest.mark.parametrize("indptr, items, message", [
    ([0, 2], [1, 6], r"items\[1\] is 6; expected 1..5"), ([0, 2], [0, 1], r"items\[0\] is 0"),
    ([0, 3], [1, 2], "indptr must rise"), ([1, 2], [1, 2], "indptr must rise"), ([0, 2, 1, 2], [1, 2], "indptr"),
])
def test_broken_histories_are_refused(indptr, items, message):
    with pytest.raises(ValueError, match=message):
        SeenItems.from_histories(indptr, items, 5)


def test_unsorted_seen_items_are_refused():
    SeenItems(np.array([0, 0, 2, 2, 3]), np.array([2, 5, 1]), 5)
    for items in ([5, 2, 1], [2, 2, 1]):
        with pytest.raises(ValueError, match="from_histories"):
            SeenItems(np.array([0, 0, 2, 2, 3]), np.array(items), 5)
