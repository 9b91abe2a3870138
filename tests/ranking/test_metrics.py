from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.ranking.metrics import DEFAULT_METRICS, hit_rate, metric_values, ndcg, reciprocal_rank
from tslrec_min.ranking.ranks import Ranks, rank_targets

from .. import _reference as reference

COUNTS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=20)


def make_ranks(pairs):
    greater, equal = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Ranks(greater, equal, greater + equal + 1)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.sampled_from([*DEFAULT_METRICS, "hr@1", "ndcg@1", "hr@1000", "ndcg@64"]))
def test_equals_the_mean_over_the_places_of_a_tie(pairs, name):
    expected = [reference.metric(name, greater, equal) for greater, equal in pairs]
    np.testing.assert_allclose(metric_values(make_ranks(pairs), name), expected, rtol=0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.integers(1, 80))
def test_bounds_and_monotony(pairs, k):
    greater, equal = np.array(pairs).T
    hits, gains = hit_rate(greater, equal, k), ndcg(greater, equal, k)
    assert (gains >= 0).all() and (gains <= hits).all() and (hits <= 1).all()
    assert (hit_rate(greater, equal, k + 1) >= hits).all() and (ndcg(greater, equal, k + 1) >= gains).all()
    assert (reciprocal_rank(greater, equal) > 0).all() and (reciprocal_rank(greater, equal) <= 1).all()
    assert (hit_rate(greater + 1, equal, k) <= hits).all()


def test_by_hand():
    ranks = make_ranks([(0, 0), (2, 0), (9, 0), (10, 0), (0, 1), (9, 1)])
    np.testing.assert_allclose(metric_values(ranks, "hr@10"), [1, 1, 1, 0, 1, 0.5])
    np.testing.assert_allclose(metric_values(ranks, "ndcg@10"),
                               [1, 0.5, 1 / np.log2(11), 0, (1 + 1 / np.log2(3)) / 2, 0.5 / np.log2(11)])
    np.testing.assert_allclose(metric_values(ranks, "mrr"),
                               [1, 1 / 3, 1 / 10, 1 / 11, 0.75, (1 / 10 + 1 / 11) / 2])


@pytest.mark.parametrize("n_items", [1, 4, 10, 11, 1000])
@pytest.mark.parametrize("k", [1, 5, 10])
def test_constant_scores_hit_by_chance(n_items, k):
    ranks = rank_targets(np.zeros((3, 1)), np.zeros((n_items + 1, 1)), [1, (n_items + 1) // 2, n_items], None)
    np.testing.assert_allclose(metric_values(ranks, f"hr@{k}"), min(k, n_items) / n_items, rtol=0, atol=1e-12)


def test_a_long_list_keeps_its_precision():
    greater = np.array([0, 999_999, 5_000_000])
    np.testing.assert_allclose(reciprocal_rank(greater, np.zeros(3, dtype=int)), 1 / (greater + 1), rtol=0, atol=1e-9)


def test_a_list_longer_than_any_catalogue_takes_no_memory():
    tracemalloc.start()
    try:
        values = metric_values(make_ranks([(0, 0), (2, 0)]), "ndcg@20000000")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(values, [1, 0.5], rtol=0, atol=1e-12)


def test_ranks_beyond_any_catalogue_take_no_memory():
    """Beyond the table of harmonic numbers too, against sums of fractions; its end included."""
    tracemalloc.start()
    try:
        assert reciprocal_rank([2**31 - 1], [2**31 - 1])[0] == pytest.approx(math.log(2) / 2**31, rel=1e-6)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    for above, beside in ((65_533, 0), (65_534, 0), (65_534, 1), (65_535, 3), (65_500, 100), (200_000, 50_000)):
        exact = math.fsum(1 / place for place in range(above + 1, above + beside + 2)) / (beside + 1)
        assert reciprocal_rank([above], [beside])[0] == pytest.approx(exact, rel=1e-9)


def test_no_users():
    ranks = make_ranks([])
    assert {metric_values(ranks, name).shape for name in DEFAULT_METRICS} == {(0,)}


@pytest.mark.parametrize("name", ["hr", "hr@0", "hr@-1", "HR@10", "recall@10", "ndcg@ten", "ndcg@10 ", "mrr@10", ""])
def test_an_unknown_metric_is_refused(name):
    with pytest.raises(ValueError, match=f"no metric {name!r}; expected hr@K, ndcg@K or mrr"):
        metric_values(make_ranks([(0, 0)]), name)


@pytest.mark.parametrize("greater, equal, k, message", [
    ([0, -1], [0, 0], 5, r"greater\[1\] is -1"), ([0], [-2], 5, r"equal\[0\] is -2"),
    ([0, 1], [0], 5, "equal has 1 entries; expected 2"), ([0], [0], 0, "k is 0"),
    ([0.5], [0], 5, "greater is float64"),
])
def test_wrong_counts_are_refused(greater, equal, k, message):
    with pytest.raises(ValueError, match=message):
        ndcg(greater, equal, k)
