from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.data.dataset import Evaluation, Histories
from tslrec_min.ranking.scores import Scores
from tslrec_min.recommenders.counting.search import chosen_constants, sampled

from ..factories import histories_of

N_ITEMS = 30


def asked_of(n_users: int) -> Evaluation:
    """Every user had the item 1; the target is item 2 + user % 20."""
    return Evaluation(histories_of([[1]] * n_users), np.arange(n_users), 2 + np.arange(n_users) % 20)


def scorer_that_likes(best: dict[str, float], tried: list[dict[str, float]]):
    """The nearer the constants are to the best ones, the nearer the target is to the top."""
    def scores(constants: dict[str, float], histories: Histories) -> Scores:
        tried.append(dict(constants))
        distance = round(sum(abs(constants[name] - value) for name, value in best.items()))
        matrix = np.zeros((len(histories), N_ITEMS + 1), np.float32)
        matrix[np.arange(len(histories)), 2 + np.arange(len(histories)) % 20] = 1
        matrix[:, N_ITEMS - distance + 1:] = 2  # so many items are above it
        return Scores(matrix, np.eye(N_ITEMS + 1, dtype=np.float32))
    return scores


def test_the_best_constants_are_found_one_after_the_other() -> None:
    tried: list[dict[str, float]] = []
    grid = {"a": (1.0, 2.0, 3.0), "b": (5.0, 4.0, 6.0, 7.0)}
    constants, score = chosen_constants(grid, scorer_that_likes({"a": 3, "b": 7}, tried), asked_of(40), N_ITEMS, 1)
    assert constants == {"a": 3.0, "b": 7.0} and score == pytest.approx(1.0)
    assert tried[0] == {"a": 1.0, "b": 5.0}
    assert len(tried) == len({tuple(one.values()) for one in tried})  # none twice


def test_of_equally_good_constants_the_first_one_is_kept() -> None:
    constants, _ = chosen_constants({"a": (5.0, 1.0, 3.0)}, scorer_that_likes({}, []), asked_of(10), N_ITEMS, 1)
    assert constants == {"a": 5.0}


def test_without_constants_there_is_still_a_score() -> None:
    assert chosen_constants({}, scorer_that_likes({}, []), asked_of(10), N_ITEMS, 1) == ({}, pytest.approx(1.0))


@pytest.mark.parametrize(("n_users", "count"), [(0, 5), (1, 5), (5, 5), (97, 10)])
def test_a_sample_is_spread_evenly_and_keeps_history_and_target_together(n_users: int, count: int) -> None:
    rows = [[1 + user % 7, 2] for user in range(n_users + 1)]
    users = np.arange(1, n_users + 1)  # user 0 has no target
    evaluation = Evaluation(histories_of(rows), users, 10 + users)
    sample = sampled(evaluation, count)
    assert len(sample.users) == len(sample.targets) == len(sample.histories) == min(count, n_users)
    assert sample.users.tolist() == list(range(len(sample.users)))
    for place, target in enumerate(sample.targets):
        assert sample.histories.of(place).tolist() == rows[target - 10]
    assert n_users <= count or np.diff(sample.targets).max() <= 2 * n_users / count
