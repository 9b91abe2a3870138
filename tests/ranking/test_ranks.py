from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.data.seen import SeenItems
from tslrec_min.ranking import ranks as ranking
from tslrec_min.ranking._ranking import instruction_sets
from tslrec_min.ranking.ranks import rank_targets, top_k

from .. import _reference as reference
from ..robustness.kernel_inputs import FUZZ, N_ITEMS, SEEN, TYPES, WIDTH, arrays, check

pytestmark = pytest.mark.kernel
# widths and numbers of items: less than a vector, more than one tile, and (wide vectors) more than one block
SHAPES = [(41, 130, 5), (3, 700, 9), (1, 1, 1), (30, 270, 1), (25, 330, 700)]


@pytest.fixture(params=instruction_sets())
def isa(request, monkeypatch):
    """Every instruction set that this CPU has."""
    monkeypatch.setattr(ranking, "_ISA", instruction_sets().index(request.param))


def make_seen(rng, n_users, n_items, most=6):
    lengths = rng.integers(0, most + 1, size=n_users)
    items = rng.integers(1, n_items + 1, size=lengths.sum())
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return SeenItems.from_histories(indptr, items, n_items), [set(row) for row in np.split(items, indptr[1:-1])]


def rank_scores(scores, targets, seen=None, **options):
    """Rank by scores that are given: the products of the users' unit vectors and the columns."""
    scores = np.asarray(scores)
    return rank_targets(np.eye(len(scores), dtype=scores.dtype), scores.T, targets, seen, **options)


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


def small_integers(rng, n_users, n_items, width, dtype):
    """Factors whose scores are exact in any order of summing, with many ties."""
    states = rng.integers(-3, 4, size=(n_users, width)).astype(dtype)
    table = rng.integers(-2, 3, size=(n_items + 1, width)).astype(dtype)
    table[0] = np.nan  # the padding row may be anything
    return states, table, np.nan_to_num(states @ np.nan_to_num(table).T)


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streamed_ranks_equal_the_reference(isa, dtype, shape, num_threads):
    rng = np.random.default_rng(1)
    n_users, n_items, _ = shape
    states, table, scores = small_integers(rng, *shape, dtype)
    targets, users = rng.integers(1, n_items + 1, size=n_users), rng.integers(0, 20, size=n_users)
    seen, seen_sets = make_seen(rng, 20, n_items, most=min(n_items, 60))
    for array in (states, table, targets, users):
        array.flags.writeable = False
    ranks = rank_targets(states, table, targets, seen, users=users, num_threads=num_threads)
    expected = reference.counts(scores, targets, [seen_sets[user] for user in users])
    np.testing.assert_array_equal(as_rows(ranks), expected)
    without = rank_targets(states[::2], np.asfortranarray(table), targets[::2], None, num_threads=num_threads)
    nothing = [()] * len(scores[::2])
    np.testing.assert_array_equal(as_rows(without), reference.counts(scores[::2], targets[::2], nothing))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 90), st.integers(1, 20), st.integers(1, 4),
       st.sampled_from(instruction_sets()), st.sampled_from([np.float32, np.float64]),
       st.sampled_from(["some", "all but the target", "all"]), st.integers(0, 2**32 - 1))
def test_any_shape_equals_the_reference(n_users, n_items, width, num_threads, name, dtype, seen_kind, seed):
    rng = np.random.default_rng(seed)
    states, table, scores = small_integers(rng, n_users, n_items, width, dtype)
    targets = rng.integers(1, n_items + 1, size=n_users)
    seen, seen_sets = make_seen(rng, n_users, n_items)
    users = rng.integers(0, n_users, size=n_users)
    if seen_kind != "some":
        users = np.arange(n_users)
        seen_sets = [set(range(1, n_items + 1)) - ({target} if seen_kind != "all" else set()) for target in targets]
        seen = SeenItems.from_histories(np.cumsum([0, *map(len, seen_sets)]),
                                        np.concatenate([sorted(row) for row in seen_sets]).astype(int), n_items)
    seen_sets = [seen_sets[user] for user in users]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_ISA", instruction_sets().index(name))
        ranks = rank_targets(states, table, targets, seen, users=users, num_threads=num_threads)
        items, values = top_k(states, table, 7, seen, users=users, num_threads=num_threads)
    np.testing.assert_array_equal(as_rows(ranks), reference.counts(scores, targets, seen_sets))
    expected = reference.best(scores, 7, seen_sets)
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_array_equal(values, expected[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_real_scores_are_counted_up_to_rounding_and_the_same_by_any_number_of_threads(isa, dtype):
    rng = np.random.default_rng(5)
    states, table = rng.normal(size=(500, 33)).astype(dtype), rng.normal(size=(900, 33)).astype(dtype)
    targets = rng.integers(1, 900, size=500)
    seen, seen_sets = make_seen(rng, 500, 899, most=40)
    ranks = as_rows(rank_targets(states, table, targets, seen))
    best = top_k(states, table, 20, seen)
    for num_threads in (2, 3, 4):
        np.testing.assert_array_equal(as_rows(rank_targets(states, table, targets, seen, num_threads=num_threads)),
                                      ranks)
        np.testing.assert_array_equal(top_k(states, table, 20, seen, num_threads=num_threads), best)
    exact = states.astype(np.float64) @ table.T.astype(np.float64)
    rounding = 33 * np.finfo(dtype).eps * np.abs(states).astype(np.float64) @ np.abs(table).T.astype(np.float64)
    apart = np.abs(exact - exact[np.arange(500), targets, None]) > 2 * rounding
    apart[np.arange(500), targets] = True
    clear = apart[:, 1:].all(axis=1)
    assert clear.sum() > 400
    expected = reference.counts(exact, targets, seen_sets)
    np.testing.assert_array_equal(ranks[:, clear], expected[:, clear])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_best_items_stand_where_they_are_ranked(isa, dtype):
    rng = np.random.default_rng(6)
    states, table = rng.normal(size=(60, 8)).astype(dtype), rng.normal(size=(800, 8)).astype(dtype)
    table[400:] = table[:400]  # every vector twice
    seen, _ = make_seen(rng, 60, 799)
    items, scores = top_k(states, table, 9, seen, num_threads=2)
    assert items.dtype == np.int64 and scores.dtype == dtype
    for place in range(9):
        ranks = rank_targets(states, table, items[:, place], seen)
        assert (ranks.greater <= place).all() and (place <= ranks.greater + ranks.equal).all()
    np.testing.assert_allclose(scores, np.take_along_axis(states @ table.T, items, axis=1), rtol=1e-4, atol=1e-5)


def test_best_items_by_hand():
    #                 pad 1   2   3   4   5
    table = np.array([[99.], [1.], [3.], [2.], [3.], [-5.]])
    seen = SeenItems.from_histories([0, 1, 4], [2, 1, 2, 4], 5)
    items, scores = top_k(np.array([[1.], [-1.], [0.]]), table, 4, seen, users=[0, 1, 1])
    assert items.tolist() == [[4, 3, 1, 5], [5, 3, 0, 0], [3, 5, 0, 0]]
    assert scores.tolist() == [[3, 2, 1, -5], [5, -2, -np.inf, -np.inf], [0, 0, -np.inf, -np.inf]]
    assert top_k(np.array([[0.]]), table, 7, None)[0].tolist() == [[1, 2, 3, 4, 5, 0, 0]]


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
def test_equal_vectors_are_tied(isa, dtype, n_users, n_items):
    rng = np.random.default_rng(2)
    table = np.repeat(rng.normal(size=(1, 50)), n_items + 1, axis=0).astype(dtype)
    states = rng.normal(size=(n_users, 50)).astype(dtype)
    ranks = rank_targets(states, table, rng.integers(1, n_items + 1, size=n_users), None)
    assert (ranks.greater == 0).all() and (ranks.equal == n_items - 1).all()


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factors_that_make_scores_not_finite_are_refused(isa, dtype, value, num_threads):
    rng = np.random.default_rng(4)
    states, table = rng.uniform(1, 2, size=(29, 3)).astype(dtype), rng.uniform(1, 2, size=(601, 3)).astype(dtype)
    states[[17, 28], 1] = value
    seen, _ = make_seen(rng, 60, 600)
    arguments = {"users": np.arange(20, 49), "num_threads": num_threads}

    def refuses(message):
        with pytest.raises(ValueError, match=message):
            rank_targets(states, table, np.ones(29, dtype=int), seen, **arguments)
        with pytest.raises(ValueError, match=message):
            top_k(states, table, 5, seen, **arguments)

    refuses(r"row 17 \(user 37\) has 600 scores")
    states[[17, 28]] = 1
    for item in (1, 300, 600):
        table[item, 2] = value
        refuses(r"row 0 \(user 20\) has 1 scores")
        table[item, 2] = 1
    states[5, 0] = table[7, 0] = np.sqrt(np.finfo(dtype).max) * 2  # finite factors of a score that isn't
    refuses(r"row 5 \(user 25\) has 1 scores")
    everything = SeenItems.from_histories(np.arange(30) * 600, np.tile(np.arange(1, 601), 29), 600)
    with pytest.raises(ValueError, match=r"row 5 \(user 5\) has 1 scores"):
        rank_targets(states, table, np.ones(29, dtype=int), everything)


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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("call", ["rank_targets(states, table, targets, None, num_threads=4)",
                                  "top_k(states, table, 10, None, num_threads=4)"])
def test_memory_does_not_grow_with_users_times_items(call):
    """The scores would take 400 MB, a copy of the table 64 MB."""
    program = f"""
import numpy as np
from tslrec_min.ranking.ranks import rank_targets, top_k
states, table, targets = np.ones((200, 32), np.float32), np.ones((500_001, 32), np.float32), np.ones(200, int)
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
{call}
print(peak() - before)
"""
    process = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True)
    assert int(process.stdout) < 32 << 10  # KiB


def test_no_users_and_no_width():
    ranks = rank_targets(np.empty((0, 4)), np.ones((6, 4)), [], None)
    assert as_rows(ranks).shape == (3, 0)
    assert top_k(np.empty((0, 4)), np.ones((6, 4)), 3, None)[0].shape == (0, 3)
    assert as_rows(rank_targets(np.empty((2, 0)), np.empty((6, 0)), [1, 5], None)).tolist() == [[0, 0], [4, 4], [5, 5]]


@pytest.mark.parametrize("change, message", [
    ({"targets": [1, 0]}, r"targets\[1\] is 0; expected 1..4"), ({"targets": [5, 1]}, r"targets\[0\] is 5"),
    ({"targets": [1]}, "targets has 1 entries; expected 2"), ({"users": [0]}, "users has 1 entries"),
    ({"users": [0, 3]}, r"users\[1\] is 3; expected 0..2"), ({"users": [-1, 0]}, r"users\[0\] is -1"),
    ({"states": np.ones((2, 4))}, "same dtype and number of columns"),
    ({"states": np.ones((2, 3), np.float32)}, "same dtype and number of columns"),
    ({"states": np.ones((2, 3), np.float16)}, "states is float16"), ({"states": np.ones(3)}, "states is float64 of"),
    ({"item_table": np.ones((1, 3))}, "only the padding row"),
    ({"item_table": np.ones((6, 3))}, "seen has 4 items, item_table has 5"),
    ({"num_threads": 0}, "num_threads is 0"),
])
def test_wrong_arguments_are_refused(change, message):
    arguments = {"states": np.ones((2, 3)), "item_table": np.ones((5, 3)), "targets": [1, 2],
                 "seen": SeenItems.from_histories([0, 1, 2, 3], [1, 2, 3], 4)} | change
    with pytest.raises(ValueError, match=message):
        rank_targets(**arguments)


def test_wrong_arguments_of_top_k_are_refused():
    states, table, seen = np.ones((2, 3)), np.ones((5, 3)), SeenItems.from_histories([0, 1, 2], [1, 2], 4)
    with pytest.raises(ValueError, match="k is 0"):
        top_k(states, table, 0, seen)
    with pytest.raises(ValueError, match=r"users\[1\] is 2; expected 0..1"):
        top_k(states, table, 1, seen, users=[0, 2])
    with pytest.raises(ValueError, match="seen has 4 items, item_table has 5"):
        top_k(states, np.ones((6, 3)), 1, seen)
    with pytest.raises(ValueError, match="same dtype and number of columns"):
        top_k(states, np.ones((5, 4)), 1, seen)


@FUZZ
@given(arrays(), st.sampled_from((("targets", "targets"), ("users", "targets"), ("users", "best"))))
def test_ranks(values, case):
    argument, function = case
    random = np.random.default_rng(0)
    states, table = random.standard_normal((3, WIDTH)), random.standard_normal((N_ITEMS + 1, WIDTH))
    given_arguments = {"targets": np.array([1, 7, 3]), "users": np.array([0, 2, 3])}

    def call(array):
        arguments = given_arguments | {argument: array}
        if function == "best":
            return top_k(states, table, 9, SEEN, users=arguments["users"], num_threads=2)
        return rank_targets(states, table, arguments["targets"], SEEN, users=arguments["users"], num_threads=2)

    check(call, values)


@FUZZ
@given(st.sampled_from(TYPES), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 3), st.integers(0, 2))
def test_factors_of_any_shape_and_type(kind, shape, layout, which):
    values = np.ones(shape, dtype=np.float64).astype(kind)
    values = [values, np.asfortranarray(values), np.repeat(values, 2, axis=0)[::2] if shape else values,
              values.T][layout]
    states, table = np.ones((3, 4), dtype=kind), np.ones((5, 4), dtype=kind)
    arguments = [(values, table), (states, values), (values, values)][which]
    for call in (lambda: rank_targets(*arguments, [1] * len(arguments[0]), None, num_threads=2),
                 lambda: top_k(*arguments, 3, None, num_threads=2)):
        try:
            call()
        except (ValueError, TypeError):
            continue
        assert kind in (np.float32, np.float64)
