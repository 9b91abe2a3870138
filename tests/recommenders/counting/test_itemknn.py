from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders.counting import itemknn
from tslrec_min.recommenders.counting.itemknn import ItemKNN, similarities

from ..factories import all_scores, dense_rows, histories_of, known_from

N_ITEMS = 7
ROWS = st.lists(st.lists(st.integers(1, N_ITEMS), max_size=8), min_size=1, max_size=20)


def plain_similarities(rows: list[list[int]], shrinkage: float, neighbours: int) -> np.ndarray:
    """Dense, from the formula; of equally near items the first ones are kept."""
    has = np.array([[item in row for item in range(N_ITEMS + 1)] for row in rows], float)
    both, counts = has.T @ has, has.sum(axis=0)
    near = np.where(both > 0, both / np.maximum(np.sqrt(np.outer(counts, counts)) + shrinkage, 1e-9), 0)
    np.fill_diagonal(near, 0)
    for item in range(N_ITEMS + 1):
        order = sorted(range(N_ITEMS + 1), key=lambda other: (-round(near[item, other], 12), other))
        near[item, order[neighbours:]] = 0
    return near


@settings(deadline=None)
@given(ROWS, st.sampled_from([0.0, 2.0]), st.integers(1, N_ITEMS), st.sampled_from([(2, 99), (1024, 0),
                                                                                       (1024, 9), (1024, 1 << 24)]),
       st.integers(1, 2))
def test_similarities_equal_the_formula(rows: list[list[int]], shrinkage: float, neighbours: int,
                                        at_once: tuple[int, int], threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(itemknn, "_ITEMS_AT_ONCE", at_once[0])
        patch.setattr(itemknn, "_PAIRS_AT_ONCE", at_once[1])
        found = similarities(histories_of(rows), N_ITEMS, shrinkage, neighbours, threads=threads)
    assert np.diff(found.indptr).max() <= neighbours and found.values.dtype == np.float32
    np.testing.assert_allclose(dense_rows(found, N_ITEMS + 1), plain_similarities(rows, shrinkage, neighbours),
                               rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.sampled_from([1.0, 0.4]))
def test_scores_are_sums_over_the_history(rows: list[list[int]], decay: float) -> None:
    constants = {"decay": decay, "shrinkage": 1.0, "neighbours": 3}
    scorer = ItemKNN.maker(known_from([row or [1] for row in rows], N_ITEMS))(constants)
    found = all_scores(scorer.scores(histories_of(rows)))
    near = plain_similarities([row or [1] for row in rows], 1.0, 3)
    for user, row in enumerate(rows):
        weights = decay ** np.arange(len(row))[::-1].astype(float)
        expected = weights / weights.sum() @ near[row] if row else np.zeros(N_ITEMS + 1)
        np.testing.assert_allclose(found[user], expected[1:], rtol=1e-5, atol=2e-3)  # the oldest items are left out
    again = ItemKNN.restore(scorer.arrays(), constants)
    np.testing.assert_array_equal(all_scores(again.scores(histories_of(rows))), found)


def test_more_users_than_items_and_more_items_than_users() -> None:
    for rows, n_items in (([[1, 2]] * 50, 2), ([[1, 40]], 40)):
        near = similarities(histories_of(rows), n_items, 0.0, 5)
        assert dense_rows(near, n_items + 1)[1, n_items] == 1 == dense_rows(near, n_items + 1)[n_items, 1]
        assert len(near.items) == 2
