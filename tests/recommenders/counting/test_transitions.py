from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders.counting.transitions import Transitions

from ..factories import all_scores, histories_of, known_from
from .test_pairs import plain_counts

N_ITEMS = 6
ROWS = [[1, 2, 3, 4], [2, 3], [3, 4, 3, 1], [5]]
CONSTANTS = {"places": 2, "tau": 0.3, "decay": 0.4, "popularity": 0.1}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, N_ITEMS), max_size=5), min_size=1, max_size=6))
def test_scores_equal_the_formula(asked: list[list[int]]) -> None:
    found = all_scores(Transitions.maker(known_from(ROWS, N_ITEMS))(CONSTANTS).scores(histories_of(asked)))
    counts, total = plain_counts(ROWS, 2, 0.5), sum(map(len, ROWS))
    for user, row in enumerate(asked):
        weights = [0.4 ** (len(row) - 1 - place) for place in range(len(row))]
        for item in range(1, N_ITEMS + 1):
            evidence = sum(weight * math.log1p(counts[before, item] / 0.3)
                           for weight, before in zip(weights, row, strict=True)) / (sum(weights) or 1)
            occurrences = sum(row.count(item) for row in ROWS) or 0.5
            assert found[user, item - 1] == pytest.approx(evidence - 0.1 * math.log(occurrences / total), abs=1e-5)


def test_a_cold_item_scores_like_one_that_training_lacks() -> None:
    scorer = Transitions.maker(known_from(ROWS, N_ITEMS, n_cold=3))(CONSTANTS)
    assert scorer.cold is not None and scorer.cold.rows.shape == (3, 0)
    scores = scorer.scores(histories_of([[5]]))  # nothing follows item 5
    together = all_scores(scorer.cold.appended_to(scores))[0]
    np.testing.assert_allclose(together[-3:], together[5], rtol=1e-6)  # item 6 is in no history
    assert together[5] > together[0] > 0


def test_it_is_restored_as_it_was() -> None:
    scorer = Transitions.maker(known_from(ROWS, N_ITEMS, n_cold=2))(CONSTANTS)
    again = Transitions.restore(scorer.arrays(), CONSTANTS)
    asked = histories_of([[1, 2], [3]])
    np.testing.assert_array_equal(all_scores(scorer.scores(asked)), all_scores(again.scores(asked)))
    assert scorer.cold is not None and again.cold is not None and scorer.cold.bias is not None
    np.testing.assert_array_equal(scorer.cold.bias, again.cold.bias)


def test_the_next_item_of_a_cycle_is_found() -> None:
    rows = [[1 + (start + step) % N_ITEMS for step in range(5)] for start in range(N_ITEMS)]
    scorer, score = Transitions.fit(known_from(rows, N_ITEMS))
    assert score > 0.9
    found = all_scores(scorer.scores(histories_of([[2, 3]])))[0]
    assert found.argmax() + 1 == 4
