from __future__ import annotations

import numpy as np

from tslrec_min.recommenders.counting.popularity import Popularity

from ..factories import all_scores, histories_of, known_from


def test_every_user_gets_the_occurrences_in_training() -> None:
    scorer, score = Popularity.fit(known_from([[1, 2, 2], [4, 2]], 4, n_cold=2))
    assert scorer.constants == {} and 0 <= score <= 1
    assert all_scores(scorer.scores(histories_of([[3], [], [1, 2]]))).tolist() == [[1, 3, 0, 1]] * 3
    assert scorer.cold is not None and scorer.cold.rows.shape == (2, 0)
    again = Popularity.restore(scorer.arrays(), {})
    assert again.cold is not None and len(again.cold.rows) == 2
    np.testing.assert_array_equal(again.bias, scorer.bias)
