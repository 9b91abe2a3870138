from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.data.seen import SeenItems
from tslrec_min.ranking import ranks as ranking
from tslrec_min.ranking._ranking import instruction_sets
from tslrec_min.ranking.ranks import rank_targets, top_k
from tslrec_min.ranking.scores import Scores, SparseRows

from .. import _reference as reference
from .test_ranks import SHAPES, as_rows, isa, make_seen, small_integers  # noqa: F401 - a fixture

pytestmark = pytest.mark.kernel
PARTS = ("product", "bias", "sparse")


def random_rows(rng, n_rows, n_items, dtype, most):
    """Rows of up to `most` items, some empty, with entries of 0 among them."""
    rows = [np.sort(rng.permutation(n_items)[:rng.integers(0, min(most, n_items) + 1)]) + 1 for _ in range(n_rows)]
    items = np.concatenate([*rows, []]).astype(int)
    return SparseRows(np.cumsum([0, *map(len, rows)]), items, tenths(rng, len(items), dtype))


def tenths(rng, size, dtype):
    """Numbers with many ties, whose sums depend on the order of adding: they are rounded, and some are large."""
    return (rng.integers(-3, 4, size) / 10 * rng.choice([1, 1, 1e6], size)).astype(dtype)


def random_scores(rng, n_users, n_items, width, dtype, parts, most=40):
    """Scores of the parts named in `parts`, and all of them as a matrix, which is exact."""
    states, table, _ = small_integers(rng, n_users, n_items, width if "product" in parts else 0, dtype)
    bias = sparse = None
    if "bias" in parts:
        bias = tenths(rng, n_items + 1, dtype)
        bias[0] = np.nan  # the padding may be anything
    if "sparse" in parts:
        sparse = random_rows(rng, n_users, n_items, dtype, most)
    table[0] = 0
    return Scores(states, table, bias, sparse), reference.score_matrix(states, table, bias, sparse)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.one_of(st.integers(1, 90), st.integers(250, 800)), st.integers(0, 40), st.integers(1, 4),
       st.integers(1, 120), st.sampled_from(instruction_sets()), st.sampled_from([np.float32, np.float64]),
       st.sets(st.sampled_from(PARTS)), st.sampled_from([0, 5, 40, 800]), st.sampled_from(["no", "some", "all"]),
       st.integers(0, 2**32 - 1))
def test_any_parts_and_shape_equal_the_reference(n_users, n_items, width, num_threads, k, name, dtype, parts, most,
                                                 seen_kind, seed):
    rng = np.random.default_rng(seed)
    scores, matrix = random_scores(rng, n_users, n_items, width, dtype, parts, most)
    targets, users = rng.integers(1, n_items + 1, size=n_users), rng.integers(0, 20, size=n_users)
    seen, seen_sets = make_seen(rng, 20, n_items, most=0 if seen_kind == "no" else 30)
    if seen_kind == "all":
        seen_sets = [set(range(1, n_items + 1))] * 20
        seen = SeenItems(np.arange(21) * n_items, np.tile(np.arange(1, n_items + 1), 20), n_items)
    seen_sets = [seen_sets[user] for user in users]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_ISA", instruction_sets().index(name))
        ranks = scores.rank(targets, seen, users=users, num_threads=num_threads)
        items, values = scores.top_k(k, seen, users=users, num_threads=num_threads)
    np.testing.assert_array_equal(as_rows(ranks), reference.counts(matrix, targets, seen_sets))
    expected = reference.best(matrix, k, seen_sets)
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_array_equal(values, expected[1])
    assert values.dtype == dtype


@pytest.mark.parametrize("shape", [*SHAPES, (30, 5000, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiles_and_blocks_equal_the_reference(isa, dtype, shape):  # noqa: F811
    rng = np.random.default_rng(1)
    n_users, n_items, _ = shape
    scores, matrix = random_scores(rng, *shape, dtype, PARTS, most=n_items)
    for array in (*vars(scores.sparse).values(), scores.bias, scores.states, scores.item_table):
        array.flags.writeable = False
    targets = rng.integers(1, n_items + 1, size=n_users)
    seen, seen_sets = make_seen(rng, n_users, n_items, most=min(n_items, 60))
    best = reference.best(matrix, 15, seen_sets)
    for num_threads in (1, 3):
        ranks = scores.rank(targets, seen, num_threads=num_threads)
        np.testing.assert_array_equal(as_rows(ranks), reference.counts(matrix, targets, seen_sets))
        for found, expected in zip(scores.top_k(15, seen, num_threads=num_threads), best, strict=True):
            np.testing.assert_array_equal(found, expected)


def real_scores(rng, n_users, n_items, width, dtype):
    """Scores of normal numbers, with long sparse rows."""
    sparse = random_rows(rng, n_users, n_items, dtype, n_items // 2)
    sparse = SparseRows(sparse.indptr, sparse.items, rng.normal(size=len(sparse.items)).astype(dtype))
    return Scores(rng.normal(size=(n_users, width)).astype(dtype), rng.normal(size=(n_items + 1, width)).astype(dtype),
                  rng.normal(size=n_items + 1).astype(dtype), sparse)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_real_scores_are_the_same_by_any_number_of_threads_and_in_any_place(isa, dtype):  # noqa: F811
    rng = np.random.default_rng(5)
    scores = real_scores(rng, 200, 900, 33, dtype)
    targets = rng.integers(1, 901, size=200)
    seen, _ = make_seen(rng, 200, 900, most=40)
    ranks, (items, values) = scores.rank(targets, seen), scores.top_k(20, seen)
    for num_threads in (2, 3, 4):
        np.testing.assert_array_equal(as_rows(scores.rank(targets, seen, num_threads=num_threads)), as_rows(ranks))
        for found, expected in zip(scores.top_k(20, seen, num_threads=num_threads), (items, values), strict=True):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(values, np.take_along_axis(reference.score_matrix(*vars(scores).values()), items, 1),
                               rtol=1e-4, atol=1e-5)
    new_id = np.concatenate([[0], 1 + rng.permutation(900)])
    moved = moved_items(scores, new_id)
    there = SeenItems.from_histories(seen.indptr, new_id[seen.items], 900)
    np.testing.assert_array_equal(as_rows(moved.rank(new_id[targets], there)), as_rows(ranks))
    np.testing.assert_array_equal(moved.top_k(20, there)[1], values)


def moved_items(scores, new_id):
    """The same scores with item i called new_id[i]."""
    table, bias, sparse = np.empty_like(scores.item_table), np.empty_like(scores.bias), scores.sparse
    table[new_id], bias[new_id] = scores.item_table, scores.bias
    owners = np.repeat(np.arange(len(sparse)), np.diff(sparse.indptr))
    order = np.lexsort((new_id[sparse.items], owners))
    return Scores(scores.states, table, bias, SparseRows(sparse.indptr, new_id[sparse.items][order],
                                                         sparse.values[order]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_parts_are_tied_and_an_entry_of_zero_is_as_good_as_none(isa, dtype):  # noqa: F811
    rng = np.random.default_rng(2)
    n_users, n_items = 31, 701
    table, bias = np.repeat(rng.normal(size=(1, 50)), n_items + 1, axis=0), np.full(n_items + 1, 0.1)
    kept = [np.flatnonzero(rng.random(n_items) < 0.3) + 1 for _ in range(n_users)]
    items = np.concatenate(kept)
    indptr, targets = np.cumsum([0, *map(len, kept)]), rng.integers(1, n_items + 1, size=n_users)

    def ranks_of(values):
        scores = Scores(rng.normal(size=(n_users, 50)).astype(dtype), table.astype(dtype), bias.astype(dtype),
                        SparseRows(indptr, items, values.astype(dtype)))
        return scores.rank(targets, None)

    ranks = ranks_of(np.where(rng.random(len(items)) < 0.5, 0.0, -0.0))
    assert (ranks.greater == 0).all() and (ranks.equal == n_items - 1).all()
    ranks = ranks_of(np.full(len(items), 0.1))
    has = np.array([target in row for target, row in zip(targets, kept, strict=True)])
    sizes = np.array([len(row) for row in kept])
    np.testing.assert_array_equal(ranks.greater, np.where(has, 0, sizes))
    np.testing.assert_array_equal(ranks.equal, np.where(has, sizes, n_items - sizes) - 1)


def test_scores_by_hand():
    #                    pad  1    2    3    4    5
    bias = np.array([np.nan, 1.0, 3.0, 2.0, 2.0, 5.0])
    sparse = SparseRows([0, 2, 2], [2, 3], np.array([-1.5, 3.0]))
    scores = Scores(np.empty((2, 0)), np.empty((6, 0)), bias, sparse)  # 1, 1.5, 5, 2, 5 and 1, 3, 2, 2, 5
    assert (len(scores), scores.n_items) == (2, 5)
    assert as_rows(scores.rank([5, 3], None)).tolist() == [[0, 2], [1, 1], [5, 5]]
    seen = SeenItems.from_histories([0, 2, 3], [3, 5, 2], 5)
    assert as_rows(scores.rank([5, 3], seen)).tolist() == [[0, 1], [0, 1], [4, 4]]  # a target counts though it's seen
    items, values = scores.top_k(3, seen, users=[1, 0])
    assert items.tolist() == [[3, 5, 4], [2, 4, 1]]
    assert values.tolist() == [[5, 5, 2], [3, 2, 1]]
    assert scores.top_k(9, None)[0].tolist() == [[3, 5, 4, 2, 1, 0, 0, 0, 0], [5, 2, 3, 4, 1, 0, 0, 0, 0]]
    part = scores.take(slice(1, 2))
    assert len(part) == 1 and part.top_k(1, None)[1].tolist() == [[5]]
    assert Scores(np.ones((3, 1)), np.ones((2, 1))).take(slice(0, 2)).sparse is None


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_that_are_not_finite_are_refused(isa, dtype, value, num_threads):  # noqa: F811
    rng = np.random.default_rng(4)
    scores = real_scores(rng, 29, 600, 3, dtype)
    states, table, bias, sparse = vars(scores).values()
    seen, _ = make_seen(rng, 29, 600)

    def refuses(message):
        with pytest.raises(ValueError, match=message):
            scores.rank(np.ones(29, dtype=int), seen, num_threads=num_threads)
        with pytest.raises(ValueError, match=message):
            scores.top_k(5, seen, num_threads=num_threads)

    for item in (1, 300, 600):
        kept, bias[item] = bias[item], value
        refuses(r"row 0 \(user 0\) has 1 scores")
        bias[item] = kept
    row = int(np.argmax(np.diff(sparse.indptr) > 100))
    places = sparse.indptr[row] + [0, 70, np.diff(sparse.indptr)[row] - 1]  # in several tiles
    kept, sparse.values[places] = sparse.values[places], value
    refuses(rf"row {row} \(user {row}\) has 3 scores")
    everything = SeenItems(np.arange(30) * 600, np.tile(np.arange(1, 601), 29), 600)
    with pytest.raises(ValueError, match=rf"row {row} \(user {row}\) has 3 scores"):
        scores.rank(np.ones(29, dtype=int), everything)
    sparse.values[places] = kept
    bias[sparse.items[places[1]]] = sparse.values[places[1]] = np.finfo(dtype).max  # finite parts of a sum that isn't
    refuses(rf"row {row} \(user {row}\) has 1 scores")


@pytest.mark.parametrize("change, message", [
    ({"bias": np.ones(4)}, "expected the same dtype and one number for each row of the table"),
    ({"bias": np.ones(5, np.float32)}, "bias is float32"), ({"bias": np.ones((5, 1))}, "bias is float64 of shape"),
    ({"sparse": SparseRows([0, 0], [], np.empty(0))}, "sparse is float64 with 1 rows"),
    ({"sparse": SparseRows([0, 0, 0], [], np.empty(0, np.float32))}, "sparse is float32 with 2 rows"),
    ({"sparse": SparseRows([0, 1, 2], [4, 5], np.ones(2))}, r"sparse.items\[1\] is 5; expected 1..4"),
])
def test_parts_that_do_not_fit_are_refused(change, message):
    states, table = np.ones((2, 3)), np.ones((5, 3))
    with pytest.raises(ValueError, match=message):
        rank_targets(states, table, [1, 2], None, **change)
    with pytest.raises(ValueError, match=message):
        top_k(states, table, 1, None, **change)


def test_no_rows():
    scores = Scores(np.empty((0, 4)), np.ones((6, 4)), np.ones(6), SparseRows([0], [], np.empty(0)))
    assert as_rows(scores.rank([], None)).shape == (3, 0)
    assert scores.top_k(3, None)[0].shape == (0, 3)
