from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.ranking.metrics import metric_values
from tslrec_min.recommenders.counting import search
from tslrec_min.recommenders.counting.base import recency_weights
from tslrec_min.recommenders.counting.search import sampled
from tslrec_min.recommenders.counting.transitions import Transitions

from ..factories import histories_of, known_from

ROWS = st.lists(st.lists(st.integers(1, 9), max_size=30), max_size=6)


@settings(deadline=None)
@given(ROWS, st.sampled_from([0.2, 0.4, 0.6, 0.9, 1.0]))
def test_weights_fall_by_the_decay_and_add_up_to_one(rows: list[list[int]], decay: float) -> None:
    recent, weights = recency_weights(histories_of(rows), decay)
    assert len(recent) == len(rows) and len(weights) == len(recent.items)
    for user, row in enumerate(rows):
        expected = [decay ** (len(row) - 1 - place) for place in range(len(row))]
        expected = [weight for weight in expected if weight >= 1e-3]
        found = weights[recent.indptr[user]:recent.indptr[user + 1]]
        assert recent.of(user).tolist() == row[len(row) - len(expected):]
        np.testing.assert_allclose(found, np.array(expected) / sum(expected) if expected else [], rtol=1e-12)


def test_occurrences_are_those_of_training_alone() -> None:
    assert known_from([[1, 2, 2], [4, 2]], 5).counts.tolist() == [0, 1, 3, 0, 1, 0]
    with pytest.raises(AttributeError):
        known_from([[1, 2]], 2).training = histories_of([])  # type: ignore[misc]


def test_a_sample_chooses_but_the_figure_is_that_of_all_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    known = known_from([[1, 2, 3, 4, 5][:2 + user % 4] + [1 + user % 9] for user in range(40)], 9)
    monkeypatch.setattr(search, "sampled", lambda evaluation: sampled(evaluation, 3))
    scorer, score = Transitions.fit(known)
    asked = known.validation
    ranks = scorer.scores(asked.histories).rank(asked.targets, asked.seen(9))
    assert score == pytest.approx(metric_values(ranks, "ndcg@10").mean(), rel=1e-12)
