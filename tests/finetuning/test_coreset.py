"""Coresets: greedy by the definition, complete where that is possible, the same every time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.data.dataset import Histories
from tslrec_min.finetuning.coreset import _FLOOR, TOLERANCE, _greedy, choose, user_features

HISTORIES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=12)
N_CATEGORIES = 3


def histories_of(rows: list[list[int]]) -> Histories:
    return Histories(np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], np.int32))


def preferences_of(rows: list[list[int]]) -> np.ndarray:
    """Item i is in category i % 3."""
    return np.array([[sum(item % N_CATEGORIES == kind for item in row) / len(row) for kind in range(N_CATEGORIES)]
                     for row in rows], np.float32)


def chosen_of(rows: list[list[int]], count: int) -> list[int]:
    return choose(user_features(histories_of(rows), preferences_of(rows), np.arange(len(rows))), count).tolist()


def objective(rows: list[list[int]], chosen: list[int]) -> float:
    """F by its definition, in plain Python."""
    names = [("item", item) for item in range(10)] + [("category", kind) for kind in range(N_CATEGORIES)]

    def mass(user: int, name: tuple[str, int]) -> float:
        of = rows[user] if name[0] == "item" else [item % N_CATEGORIES for item in rows[user]]
        return of.count(name[1]) / len(of)

    total = 0.0
    for name in names:
        weight = sum(mass(user, name) for user in range(len(rows))) / len(rows)
        total += weight * math.log1p(sum(mass(user, name) for user in chosen) / _FLOOR)
    return total


def covered(rows: list[list[int]], chosen: list[int]) -> set[int]:
    return {item for user in chosen for item in rows[user]}


@settings(deadline=None)
@given(HISTORIES, st.integers(1, 12))
def test_everyone_taken_is_about_the_best_one_left(rows: list[list[int]], count: int) -> None:
    count = min(count, len(rows))
    features = user_features(histories_of(rows), preferences_of(rows), np.arange(len(rows)))
    chosen = _greedy(features, count).tolist()
    assert len(set(chosen)) == len(chosen) == count
    for place in range(count):
        before = objective(rows, chosen[:place])
        left = set(range(len(rows))) - set(chosen[:place])
        gains = [objective(rows, [*chosen[:place], other]) - before for other in left]
        assert objective(rows, chosen[:place + 1]) - before >= (1 - TOLERANCE) * max(gains) * (1 - 1e-6)
    if covered(rows, chosen) == covered(rows, list(range(len(rows)))):
        assert chosen_of(rows, count) == chosen  # nobody had to give way


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=3, max_size=8), st.integers(1, 3))
def test_guarantee_against_the_best_of_all_sets(rows: list[list[int]], count: int) -> None:
    best = max(objective(rows, list(chosen)) for chosen in itertools.combinations(range(len(rows)), count))
    assert objective(rows, chosen_of(rows, count)) >= (1 - 1 / math.e - TOLERANCE) * best


@settings(deadline=None)
@given(HISTORIES)
def test_coverage_is_complete_if_half_of_the_users_can_do_it(rows: list[list[int]]) -> None:
    everything, greedy_cover = covered(rows, list(range(len(rows)))), []
    while covered(rows, greedy_cover) != everything:
        greedy_cover.append(max(range(len(rows)), key=lambda user: len(covered(rows, [*greedy_cover, user]))))
    count = min(len(rows), 3 * len(greedy_cover))
    assert covered(rows, chosen_of(rows, count)) == everything


def test_rare_items_are_covered_where_the_formula_alone_leaves_them_out() -> None:
    random = np.random.default_rng(0)
    rows = [random.integers(1, 6, size=4).tolist() for _ in range(3000)]
    rows += [[*random.integers(1, 6, size=15).tolist(), rare] for rare in range(6, 10)]
    chosen = chosen_of(rows, 20)
    assert covered(rows, chosen) == set(range(1, 10)) and len(set(chosen)) == 20


def test_mixture_tends_to_that_of_all_users_and_long_histories_are_not_preferred() -> None:
    random = np.random.default_rng(1)
    rows = [random.choice(np.arange(1, 10), size=random.choice([2, 12]), p=np.arange(1, 10) / 45).tolist()
            for _ in range(1500)]
    chosen, preferences = chosen_of(rows, 300), preferences_of(rows)
    assert covered(rows, chosen) == set(range(1, 10))
    everyone = preferences.mean(axis=0)
    by_chance = [np.abs(preferences[random.choice(1500, 300, replace=False)].mean(axis=0) - everyone).sum()
                 for _ in range(20)]
    assert np.abs(preferences[chosen].mean(axis=0) - everyone).sum() < np.median(by_chance)


def test_equal_users_are_taken_in_their_order_and_the_candidates_order_counts() -> None:
    rows = [[1, 2]] * 5 + [[3, 4, 5]]
    assert chosen_of(rows, 3)[:2] in ([5, 0], [0, 5]) and sorted(chosen_of(rows, 3)) == [0, 1, 5]
    shown, preferences = histories_of(rows), preferences_of(rows)
    backwards = np.arange(len(rows))[::-1]
    assert sorted(backwards[choose(user_features(shown, preferences, backwards), 3)]) == [3, 4, 5]


def test_features_are_masses_of_the_users_asked_for() -> None:
    rows = [[7, 7, 8, 9], [1], [2, 3]]
    features = user_features(histories_of(rows), preferences_of(rows), np.array([2, 0]))
    assert len(features) == 2
    dense = np.zeros((2, len(features.weights)))
    dense[np.repeat([0, 1], np.diff(features.indptr)), features.columns] = features.masses
    expected = np.zeros((2, 10 + N_CATEGORIES))
    expected[0, [2, 3]], expected[1, [7, 8, 9]] = 0.5, [0.5, 0.25, 0.25]
    expected[:, 10:] = preferences_of(rows)[[2, 0]]
    np.testing.assert_allclose(dense, expected)
    np.testing.assert_allclose(features.weights, expected.mean(axis=0))


def test_none_all_and_too_many() -> None:
    rows = [[1], [2], [1, 2]]
    assert chosen_of(rows, 0) == [] and sorted(chosen_of(rows, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="count is 4; expected 0 to the number of users, 3"):
        chosen_of(rows, 4)
