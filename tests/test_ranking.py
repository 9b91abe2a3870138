from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.ranking import rank_scores, rank_targets
from tslrec_min.sampling import SeenItems

from . import _reference as reference


def make_seen(rng, n_users, n_items, most=6):
    lengths = rng.integers(0, most + 1, size=n_users)
    items = rng.integers(1, n_items + 1, size=lengths.sum())
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return SeenItems.from_histories(indptr, items, n_items), [set(row) for row in np.split(items, indptr[1:-1])]


def as_rows(ranks):
    return np.stack([ranks.greater, ranks.equal, ranks.n_candidates])


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("layout", ["plain", "read-only", "strided"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_equal_the_reference(dtype, layout, num_threads):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, size=(37, 24)).astype(dtype)  # many ties
    scores[:, 0] = np.nan  # the padding's score doesn't matter
    targets = rng.integers(1, 24, size=37)
    seen, seen_sets = make_seen(rng, 37, 23)
    expected = reference.counts(scores, targets, seen_sets)
    if layout == "read-only":
        for array in (scores, targets, seen.indptr, seen.items):
            array.flags.writeable = False
    if layout == "strided":
        scores, targets = np.asfortranarray(scores), np.repeat(targets, 2)[::2]
    ranks = rank_scores(scores, targets, seen, num_threads=num_threads)
    np.testing.assert_array_equal(as_rows(ranks), expected)
    assert {array.dtype for array in (ranks.greater, ranks.equal, ranks.n_candidates)} == {np.dtype(np.int64)}


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("tile_bytes", [1, 3000, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streamed_ranks_equal_the_reference(dtype, tile_bytes, num_threads):
    rng = np.random.default_rng(1)
    states = rng.integers(-3, 4, size=(41, 5)).astype(dtype)  # small integers: exact scores, many ties
    table = rng.integers(-2, 3, size=(131, 5)).astype(dtype)
    table[0] = 9  # the padding row is never a candidate
    targets, users = rng.integers(1, 131, size=41), rng.integers(0, 20, size=41)
    seen, seen_sets = make_seen(rng, 20, 130)
    ranks = rank_targets(states, table, targets, seen, users=users, num_threads=num_threads)
    expected = reference.counts(states @ table.T, targets, [seen_sets[user] for user in users])
    np.testing.assert_array_equal(as_rows(ranks), expected)
    without = rank_targets(states[::2], table, targets[::2], None, num_threads=num_threads)  # strided states
    np.testing.assert_array_equal(as_rows(without), reference.counts(states[::2] @ table.T, targets[::2], [()] * 21))


def test_a_row_by_hand():
    #          pad 1   2   3   4   5
    scores = [[99., 1., 3., 2., 2., 5.]]
    ranks = rank_scores(np.array(scores), [3])
    assert as_rows(ranks).ravel().tolist() == [2, 1, 5]
    seen = SeenItems.from_histories([0, 2], [5, 4], 5)
    assert as_rows(rank_scores(np.array(scores), [3], seen)).ravel().tolist() == [1, 0, 3]
    assert as_rows(rank_scores(np.array(scores), [4], seen)).ravel().tolist() == [1, 1, 4]  # seen, and the target


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_users", [1, 2, 37, 129])
@pytest.mark.parametrize("n_items", [1, 17, 1001])
def test_equal_vectors_are_tied(dtype, n_users, n_items):
    rng = np.random.default_rng(2)
    table = np.repeat(rng.normal(size=(1, 50)), n_items + 1, axis=0).astype(dtype)
    states = rng.normal(size=(n_users, 50)).astype(dtype)
    ranks = rank_targets(states, table, rng.integers(1, n_items + 1, size=n_users), None)
    assert (ranks.greater == 0).all() and (ranks.equal == n_items - 1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("item", [1, 4, 9])
def test_a_score_that_is_not_finite_names_the_first_user(value, dtype, item):
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(8, 10)).astype(dtype)
    scores[[5, 6], item] = value
    seen = SeenItems.from_histories(np.arange(9), np.full(8, 4), 9)  # item 4 is seen by all: refused all the same
    for num_threads in (1, 2):
        with pytest.raises(ValueError, match=r"row 5 \(user 5\) has 1 scores"):
            rank_scores(scores, np.full(8, 1), seen, num_threads=num_threads)


def test_a_state_that_is_not_finite_is_named_in_any_tile():
    rng = np.random.default_rng(4)
    states, table = rng.normal(size=(9, 3)), rng.normal(size=(6, 3))
    states[[7, 8], 1] = np.nan
    seen, _ = make_seen(rng, 30, 5)
    for tile_bytes in (1, 1 << 20):
        with pytest.raises(ValueError, match=r"row 7 \(user 27\) has 5 scores"):
            rank_targets(states, table, np.ones(9, dtype=int), seen, users=np.arange(20, 29))
    table[0] = np.nan
    rank_targets(states[:7], table, np.ones(7, dtype=int), None)  # the padding row may be anything


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_permuting_users_and_items_changes_nothing(n_users, n_items, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, size=(n_users, n_items + 1)).astype(np.float32)
    targets = rng.integers(1, n_items + 1, size=n_users)
    seen, seen_sets = make_seen(rng, n_users, n_items)
    ranks = as_rows(rank_scores(scores, targets, seen))
    order = rng.permutation(n_users)
    np.testing.assert_array_equal(as_rows(rank_scores(scores[order], targets[order], seen, users=order)),
                                  ranks[:, order])
    new_id = np.concatenate([[0], 1 + rng.permutation(n_items)])
    moved = np.empty_like(scores)
    moved[:, new_id] = scores
    renamed = SeenItems.from_histories(seen.indptr, new_id[seen.items], n_items)
    np.testing.assert_array_equal(as_rows(rank_scores(moved, new_id[targets], renamed)), ranks)
    assert (ranks[0] + ranks[1] + 1 <= ranks[2]).all()


def test_no_users():
    ranks = rank_targets(np.empty((0, 4)), np.ones((6, 4)), [], None)
    assert as_rows(ranks).shape == (3, 0)
    assert as_rows(rank_scores(np.empty((0, 6)), [])).shape == (3, 0)


@pytest.mark.parametrize("change, message", [
    ({"targets": [1, 0]}, r"targets\[1\] is 0; expected 1..4"), ({"targets": [5, 1]}, r"targets\[0\] is 5"),
    ({"targets": [1]}, "targets has 1 entries; expected 2"), ({"users": [0]}, "users has 1 entries"),
    ({"users": [0, 3]}, r"users\[1\] is 3; expected 0..2"), ({"users": [-1, 0]}, r"users\[0\] is -1"),
    ({"states": np.ones((2, 4))}, "same dtype and number of columns"),
    ({"states": np.ones((2, 3), np.float32)}, "same dtype and number of columns"),
    ({"states": np.ones((2, 3), np.float16)}, "states is float16"), ({"states": np.ones(3)}, "states is float64 of"),
    ({"item_table": np.ones((1, 3))}, "no item beside the padding"),
    ({"item_table": np.ones((6, 3))}, "seen is of 4 items, the scores are of 5"),
    ({"num_threads": 0}, "num_threads is 0"),
])
def test_wrong_arguments_are_refused(change, message):
    arguments = {"states": np.ones((2, 3)), "item_table": np.ones((5, 3)), "targets": [1, 2],
                 "seen": SeenItems.from_histories([0, 1, 2, 3], [1, 2, 3], 4)} | change
    with pytest.raises(ValueError, match=message):
        rank_targets(**arguments)
