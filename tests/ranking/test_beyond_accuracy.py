"""Coverage, concentration, popularity, novelty and diversity of lists, compared with references that loop."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.ranking.beyond_accuracy import (
    ListStatistics,
    coverage,
    gini,
    list_distances,
    popularity_percentiles,
    self_information,
)

N_ITEMS = 12
TRAINING = np.array([0, 9, 7, 7, 4, 3, 2, 2, 2, 1, 1, 0, 0])
VECTORS = np.random.default_rng(0).standard_normal((N_ITEMS + 1, 5)).astype(np.float32)


def random_lists(users: int, k: int, seed: int, shortest: int = 0) -> np.ndarray:
    """Lists without repetition, padded at the end."""
    random = np.random.default_rng(seed)
    lists = np.array([random.permutation(N_ITEMS)[:k] + 1 for _ in range(users)]).reshape(users, k)
    lists[np.arange(k) >= random.integers(shortest, k + 1, (users, 1))] = 0
    return lists


def reference(lists: np.ndarray, training: np.ndarray, vectors: np.ndarray) -> dict[str, float]:
    """The figures by their definitions."""
    full = [[item for item in row if item] for row in lists.tolist() if any(row)]
    counts = [sum(item in row for row in full) for item in range(1, len(training))]
    differences = sum(abs(a - b) for a in counts for b in counts)
    below = [(sum(training[1:] < n) + sum(training[1:] <= n)) / 2 / len(counts) for n in training]
    surprise = [-np.log2((n + 1) / (training[1:] + 1).sum()) for n in training]

    def mean(values: list[float]) -> float:
        return float(np.mean([values[item] for row in full for item in row]))

    def distance(a: int, b: int) -> float:
        return 1 - vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])

    distances = [np.mean([distance(a, b) for a, b in combinations(row, 2)]) for row in full if len(row) > 1]
    return {"coverage": sum(n > 0 for n in counts) / len(counts),
            "gini": differences / (2 * len(counts) * sum(counts)),  # the mean absolute difference, over twice the mean
            "popularity": mean(training), "percentile": mean(below),
            "novelty": mean(surprise)} | ({"distance": float(np.mean(distances))} if distances else {})


@settings(max_examples=60, deadline=None)
@given(users=st.integers(1, 20), k=st.integers(1, N_ITEMS), seed=st.integers(0, 999), block=st.integers(1, 7))
def test_figures_are_those_of_the_definitions_however_lists_are_divided(users: int, k: int, seed: int, block: int
                                                                        ) -> None:
    lists = random_lists(users, k, seed)
    lists[0] = np.arange(k) + 1
    statistics = ListStatistics(TRAINING, VECTORS)
    for start in range(0, users, block):
        statistics.add(lists[start:start + block])
    assert statistics.figures() == pytest.approx(reference(lists, TRAINING, VECTORS), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 2**40), min_size=1, max_size=30))
def test_gini_is_0_or_more_and_below_1_and_does_not_depend_on_scale_or_order(counts: list[int]) -> None:
    counts[0] += 1
    found = gini([0, *counts])
    assert 0 <= found <= 1 - 1 / len(counts) + 1e-12
    assert gini([0, *reversed(counts)]) == pytest.approx(found, abs=1e-12)
    assert gini([0, *(7 * count for count in counts)]) == pytest.approx(found, abs=1e-9)


def test_gini_of_known_distributions() -> None:
    assert gini([99, 5, 5, 5, 5]) == 0  # padding is not counted
    assert gini([0, 0, 0, 8, 0]) == 0.75
    assert gini([0, 1, 3]) == 0.25
    moved = gini([0, 4, 6, 10])
    assert moved < gini([0, 3, 6, 11])  # a transfer to the most popular one concentrates
    assert gini([0, 7]) == 0


@given(seed=st.integers(0, 99), k=st.integers(1, N_ITEMS - 1))
def test_longer_lists_cover_no_less(seed: int, k: int) -> None:
    lists = random_lists(6, N_ITEMS, seed, shortest=N_ITEMS)
    figures = []
    for length in (k, k + 1):
        statistics = ListStatistics(TRAINING)
        statistics.add(lists[:, :length])
        figures.append(statistics.figures()["coverage"])
    assert figures[0] <= figures[1] and k / N_ITEMS <= figures[0]


def test_coverage_leaves_out_the_padding() -> None:
    assert coverage([50, 0, 1, 2, 0]) == 0.5
    statistics = ListStatistics([0, 1, 1, 1, 1])
    statistics.add([[2, 0, 0], [2, 3, 0]])
    assert statistics.totals.tolist() == [0, 0, 2, 1, 0, 0, 0] and statistics.figures()["coverage"] == 0.5


def test_percentiles_count_ties_by_half() -> None:
    assert popularity_percentiles([0, 5, 1, 5, 9]).tolist() == [0, 0.5, 0.125, 0.5, 0.875]
    assert popularity_percentiles(TRAINING)[1:].mean() == pytest.approx(0.5)


def test_self_information_is_in_bits_and_finite_without_interactions() -> None:
    assert self_information([0, 1, 1, 3, 7]).tolist() == [0, 3, 3, 2, 1]  # of 16 after the addition: 2, 2, 4, 8
    assert self_information([0, 15, 0])[2] == pytest.approx(np.log2(17))


def test_every_recommended_item_weighs_the_same() -> None:
    statistics = ListStatistics([0, 10, 2, 0])
    statistics.add([[1, 2, 3], [2, 0, 0], [0, 0, 0]])  # the last list is empty
    assert statistics.figures()["popularity"] == 14 / 4


def test_distances_of_known_vectors() -> None:
    vectors = np.array([[9, 9], [1, 0], [5, 0], [0, 2], [-3, 0], [0, 0]], np.float32)
    lists = [[1, 2], [1, 3], [1, 4], [1, 5], [1, 0], [0, 0], [5, 5]]
    np.testing.assert_allclose(list_distances(lists, vectors), [0, 1, 2, 1, np.nan, np.nan, 1], atol=1e-12)
    assert list_distances([[1, 2, 3]], vectors) == pytest.approx([2 / 3])
    assert list_distances([[1, 2]], vectors * np.float32(1e-30)) == pytest.approx([0])
    statistics = ListStatistics([0, 1, 1, 1, 1, 1], vectors)
    statistics.add([[1, 0], [2, 0]])
    assert "distance" not in statistics.figures()
    statistics.add([[1, 3]])
    assert statistics.figures()["distance"] == 1


@given(seed=st.integers(0, 99), parts=st.integers(2, 5))
def test_parts_add_up_to_the_same_bits(seed: int, parts: int) -> None:
    lists, whole = random_lists(30, 5, seed), ListStatistics(TRAINING, VECTORS)
    lists[0] = np.arange(5) + 1
    whole.add(lists)
    together = ListStatistics(TRAINING, VECTORS)
    for number in range(parts):
        part = ListStatistics(TRAINING, VECTORS)
        part.add(lists[number::parts])
        together.totals += part.totals
    assert together.figures() == whole.figures()


def test_bad_arguments_are_refused() -> None:
    statistics = ListStatistics(TRAINING)
    with pytest.raises(ValueError, match="no list has an item"):
        statistics.figures()
    statistics.add(np.zeros((2, 3), np.int64))
    with pytest.raises(ValueError, match="no list has an item"):
        statistics.figures()
    for items, named in (([1, 2], "two dimensions"), ([[0.5]], "integers"), ([[13]], r"items\[0\] is 13"),
                         ([[-1]], r"items\[0\] is -1")):
        with pytest.raises(ValueError, match=named):
            statistics.add(items)
    with pytest.raises(ValueError, match="vectors has 3 entries"):
        ListStatistics(TRAINING, VECTORS[:3])
    with pytest.raises(ValueError, match="at least one item"):
        ListStatistics([0])
    with pytest.raises(ValueError, match="expected 0"):
        ListStatistics([0, -1])
