"""Places of histories, and the evidence of counts without the user's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.data.csr import offsets
from tslrec_min.data.dataset import Histories
from tslrec_min.finetuning.next_items import CONTEXT_DECAY, NextItems

N_ITEMS = 7
PLACES, TAU, DECAY, LAST = 10, 1.0, 0.6, 10


def histories_of(rows: list[list[int]]) -> Histories:
    return Histories(offsets([len(row) for row in rows]), np.array(sum(rows, []), np.int32))


def counted_twin(rows: list[list[int]], user: int, place: int) -> np.ndarray:
    """The evidence of transitions for the item at a place, counted in all histories but the user's."""
    counts = np.zeros((N_ITEMS + 1, N_ITEMS + 1))
    for other, row in enumerate(rows):
        for i, before in enumerate(row if other != user else []):
            for j in range(i + 1, min(i + PLACES, len(row) - 1) + 1):
                counts[before, row[j]] += (j - i) ** -0.5
    read = rows[user][max(0, place - LAST):place]
    weights = DECAY ** np.arange(len(read))[::-1]
    return (weights / weights.sum()) @ np.log1p(counts[read] / TAU)


@given(st.lists(st.lists(st.integers(1, N_ITEMS), max_size=14), min_size=1, max_size=6), st.integers(1, 3))
def test_evidence_is_that_of_counts_in_the_histories_of_others(rows: list[list[int]], threads: int) -> None:
    data = NextItems.of(histories_of(rows), N_ITEMS, np.arange(len(rows)), with_counts=True)
    known = [(user, place) for user, row in enumerate(rows) for place in range(1, len(row))]
    assert data.targets.tolist() == [rows[user][place] for user, place in known]
    if not known:
        return
    found = data.counted(np.arange(len(known)), threads)
    assert found is not None
    contexts, weights = data.contexts(np.arange(len(known)))
    for row, (user, place) in enumerate(known):
        dense = np.zeros(N_ITEMS + 1)
        entries = slice(found.indptr[row], found.indptr[row + 1])
        dense[found.items[entries]] = found.values[entries]
        assert dense == pytest.approx(counted_twin(rows, user, place), abs=2e-6)
        read = rows[user][max(0, place - LAST):place]
        assert contexts.of(row).tolist() == read
        assert weights[contexts.indptr[row]:contexts.indptr[row + 1]] == pytest.approx(
            CONTEXT_DECAY ** np.arange(len(read))[::-1], rel=1e-6)


def test_places_of_some_users_alone_and_the_last_ones_of_a_long_history() -> None:
    rows = [[1, 2, 3], list(np.arange(80) % N_ITEMS + 1), [4], [5, 6]]
    data = NextItems.of(histories_of(rows), N_ITEMS, np.array([3, 1]), with_counts=False)
    assert data.counted(np.arange(len(data)), 1) is None and data.n_items == N_ITEMS
    assert len(data) == 1 + 50
    assert data.targets[0] == 6 and data.targets[1:].tolist() == rows[1][-50:]
    shares = np.bincount(sum(rows, []), minlength=N_ITEMS + 1) / 86
    assert np.exp(data.log_shares[1:]) == pytest.approx(shares[1:], rel=1e-5)
