from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tslrec_min.data.seen import SeenItems
from tslrec_min.recommenders import sampling
from tslrec_min.recommenders.sampling import AliasTable, sample_negatives, shared_negatives

from ..robustness.kernel_inputs import FUZZ, INDPTR, ITEMS, N_ITEMS, SEEN, answer, arrays, check

pytestmark = pytest.mark.kernel
_GOLDEN = 0x9E3779B97F4A7C15


@pytest.fixture
def seen():
    """Four users of nine items: some items, none, all but one, the first and last ones with a repeat."""
    histories = [[4, 2, 7], [], [1, 2, 3, 4, 5, 7, 8, 9], [9, 1, 9, 2, 8]]
    indptr = np.cumsum([0] + [len(history) for history in histories])
    return SeenItems.from_histories(indptr, sum(histories, []), 9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 15), max_size=20), min_size=1, max_size=8), st.integers(0, 2**64 - 1),
       st.integers(0, 1000))
def test_never_a_seen_item_and_the_same_in_any_order(histories, seed, epoch):
    indptr = np.cumsum([0] + [len(history) for history in histories])
    seen = SeenItems.from_histories(indptr, sum(histories, []), 15 + 1)  # item 16 is never seen
    users = np.repeat(np.arange(len(histories)), 5)
    positions = np.arange(len(users)) * 7
    drawn = sample_negatives(seen, users, positions, 6, seed=seed, epoch=epoch)
    assert drawn.dtype == np.int64 and drawn.shape == (len(users), 6)
    assert drawn.min() >= 1 and drawn.max() <= 16
    assert not any(set(row) & set(histories[user]) for user, row in zip(users, drawn.tolist(), strict=True))
    order = np.random.default_rng(seed).permutation(len(users))
    for num_threads in (1, 2, 4):
        again = sample_negatives(seen, users[order], positions[order], 6, seed=seed, epoch=epoch,
                                  num_threads=num_threads)
        np.testing.assert_array_equal(again, drawn[order])
    fewer = sample_negatives(seen, users[-1:], positions[-1:], 2, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(fewer, drawn[-1:, :2])


@pytest.mark.parametrize("vary", ["position", "column", "epoch", "seed"])
def test_draws_are_uniform_along_every_part_of_the_key(seen, vary):
    def draw(positions=(5,), k=1, epoch=3, seed=11):
        return sample_negatives(seen, np.full(len(positions), 3), positions, k, seed=seed, epoch=epoch).ravel()

    drawn = {"position": lambda: draw(positions=np.arange(20000)), "column": lambda: draw(k=20000),
             "epoch": lambda: np.concatenate([draw(epoch=epoch) for epoch in range(5000)]),
             "seed": lambda: np.concatenate([draw(seed=seed) for seed in range(5000)])}[vary]()
    counts = np.bincount(drawn, minlength=10)
    assert counts[[0, 1, 2, 8, 9]].sum() == 0
    assert stats.chisquare(counts[3:8]).pvalue > 1e-4
    pairs = np.bincount((drawn[:-1] - 3) * 5 + drawn[1:] - 3, minlength=25)  # neighbours are independent
    assert stats.chisquare(pairs).pvalue > 1e-4


def test_uniform_where_most_words_of_a_modulus_would_be_biased():
    n_items = 3 * 2**29  # "word % n" of 32-bit words would draw the first quarter twice as often
    nobody = SeenItems(np.zeros(2, dtype=np.int64), np.empty(0, dtype=np.int32), n_items)
    drawn = sample_negatives(nobody, np.zeros(20000, dtype=int), np.arange(20000), 1, seed=1, epoch=0)
    counts = np.bincount(((drawn.ravel() - 1) * 12) // n_items, minlength=12)
    assert len(counts) == 12 and stats.chisquare(counts).pvalue > 1e-4


def _mix(state):
    """One step of SplitMix64 for each state, uint64 [...]."""
    with np.errstate(over="ignore"):
        z = np.asarray(state, dtype=np.uint64) + np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _words(seed, epoch, positions, k):
    """Return the first word of every draw, uint64 [N, k]."""
    key = _mix(_mix(np.uint64(seed)) ^ _mix(np.uint64(epoch)))
    rows = _mix(key + np.asarray(positions).astype(np.uint64) * np.uint64(_GOLDEN))
    return _mix(rows[:, None] + np.arange(k, dtype=np.uint64) * np.uint64(_GOLDEN))


def _one_draw(word, seen_set, n_items, attempts, table):
    """Return one draw from its first word by Python's unlimited integers."""
    for _ in range(attempts):
        column, coin = divmod(int(word) * n_items, 2**64)
        if coin >= 2**64 % n_items:
            keep = table is None or coin < int(table.thresholds[column])
            item = column + 1 if keep else int(table.aliases[column])
            if item not in seen_set:
                return item
        word = _mix(word)
    unseen = [item for item in range(1, n_items + 1) if item not in seen_set]
    if table is None:
        while int(word) * len(unseen) % 2**64 < 2**64 % len(unseen):
            word = _mix(word)
        return unseen[int(word) * len(unseen) >> 64]
    unseen = [item for item in unseen if table.probabilities[item] > 0]
    sums = np.cumsum(table.probabilities[unseen])
    return unseen[min(np.searchsorted(sums, sums[-1] * (int(word) >> 11) * 2.0**-53, "right"), len(unseen) - 1)]


def _twin(seen, users, positions, k, *, seed, epoch, table=None):
    """Return what sample_negatives should: int64 [N, k]."""
    attempts = 16 if table is None else max(16, seen.n_items // 4)
    sets = [set(row.tolist()) for row in np.split(seen.items, seen.indptr[1:-1])]
    return np.array([[_one_draw(word, sets[user], seen.n_items, attempts, table) for word in row]
                     for user, row in zip(users, _words(seed, epoch, positions, k), strict=True)])


def test_the_twin_mixes_as_splitmix64():
    assert _mix(0) == 0xE220A8397B1DCDAF  # its first output with seed 0, as its author's code gives it


def _random_seen(random, n_users, n_items, n_seen):
    """Return users with n_seen[u] random items each; the last item is never seen."""
    histories = [random.choice(n_items - 1, count, replace=False) + 1 for count in n_seen[:n_users]]
    return SeenItems.from_histories(np.cumsum([0, *map(len, histories)]), np.concatenate(histories), n_items)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_items, n_seen", [(9, [3, 0, 8, 5]), (700, [1, 699, 40, 0, 350]), (5000, [60, 4, 4999])])
def test_equals_a_plain_restatement(n_items, n_seen, weighted):
    """Filters of a bit per item and smaller ones; rows with rejections and with the exact draw after them."""
    random = np.random.default_rng(n_items)
    seen = _random_seen(random, len(n_seen), n_items, n_seen)
    counts = random.integers(1, 50, n_items + 1) ** 2
    table = AliasTable.from_counts(counts, 0.75) if weighted else None
    users = np.repeat(np.arange(len(n_seen)), 8)
    positions = random.integers(-2**63, 2**63 - 1, len(users))
    arguments = {"seed": 2**63 + 5, "epoch": 9, "table": table}
    drawn = sample_negatives(seen, users, positions, 5, **arguments)
    np.testing.assert_array_equal(drawn, _twin(seen, users, positions, 5, **arguments))


def test_more_rejected_draws_than_are_kept_at_a_time():
    seen = _random_seen(np.random.default_rng(0), 1, 40, [30])
    arguments = {"users": np.zeros(20, dtype=int), "positions": np.arange(20), "seed": 3, "epoch": 1}
    drawn = sample_negatives(seen, n_negatives=50, **arguments)
    np.testing.assert_array_equal(drawn, _twin(seen, k=50, **arguments))


def _unmix(mixed):
    """Invert `_mix` of a Python int: undo each shift by repeating it, each product by the inverse factor."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        z = mixed
        for _ in range(64 // shift):
            z = mixed ^ (z >> shift)
        mixed = z * pow(factor, -1, 2**64) % 2**64
    return (mixed - _GOLDEN) % 2**64


@pytest.mark.parametrize("n_seen", [0, 4])
def test_a_word_that_must_be_rejected_is_drawn_again(n_seen):
    """Word 0 would make item 1 more probable than the others; unseen, it would pass the filter."""
    seen = SeenItems.from_histories([0, n_seen], list(range(9, 9 - n_seen, -1)), 9)
    key = int(_mix(_mix(np.uint64(7)) ^ _mix(np.uint64(0))))
    position = (_unmix(_unmix(0)) - key) * pow(_GOLDEN, -1, 2**64) % 2**64
    position -= 2**64 if position >= 2**63 else 0
    assert _words(7, 0, [position], 1) == 0
    drawn = sample_negatives(seen, [0], [position], 1, seed=7, epoch=0)
    word = _mix(0)
    while int(word) * 9 >> 64 >= 9 - n_seen:
        word = _mix(word)
    assert drawn.tolist() == [[(int(word) * 9 >> 64) + 1]] and drawn[0, 0] != 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 15), max_size=20), min_size=1, max_size=6),
       st.lists(st.integers(0, 1000), min_size=15, max_size=15), st.floats(0, 3), st.integers(0, 2**64 - 1))
def test_weighted_draws_are_never_seen_and_the_same_in_any_order(histories, counts, alpha, seed):
    indptr = np.cumsum([0] + [len(history) for history in histories])
    seen = SeenItems.from_histories(indptr, sum(histories, []), 16)
    table = AliasTable.from_counts([7, *counts, 1], alpha)  # item 16 can always be drawn
    possible = set(np.flatnonzero(table.probabilities).tolist())
    users = np.repeat(np.arange(len(histories)), 5)
    positions = np.arange(len(users)) - 3
    drawn = sample_negatives(seen, users, positions, 6, seed=seed, epoch=3, table=table)
    for row, user in zip(drawn.tolist(), users, strict=True):
        assert set(row) <= possible - set(histories[user])
    order = np.random.default_rng(seed).permutation(len(users))
    for num_threads in (1, 2, 4):
        again = sample_negatives(seen, users[order], positions[order], 6, seed=seed, epoch=3, table=table,
                                 num_threads=num_threads)
        np.testing.assert_array_equal(again, drawn[order])
    np.testing.assert_array_equal(drawn, _twin(seen, users, positions, 6, seed=seed, epoch=3, table=table))


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("attempts", [1, 16])
def test_weighted_draws_have_their_probabilities_among_the_unseen(monkeypatch, alpha, attempts):
    """Also where nearly all draws are made by the exact draw that follows one candidate: seen weigh most."""
    monkeypatch.setattr(sampling, "_ATTEMPTS", attempts)
    monkeypatch.setattr(sampling, "_ITEMS_PER_ATTEMPT", 9)  # more than there are items
    counts = np.array([0, 900, 5, 60, 0, 700, 20, 35, 1])
    seen = SeenItems.from_histories([0, 3], [1, 5, 8], 8)
    table = AliasTable.from_counts(counts, alpha)
    drawn = sample_negatives(seen, np.zeros(5000, dtype=int), np.arange(5000), 8, seed=5, epoch=0, table=table)
    expected = np.where(np.isin(np.arange(9), [0, 1, 5, 8]) | (counts == 0), 0, counts**alpha)
    found = np.bincount(drawn.ravel(), minlength=9)
    assert found[expected == 0].sum() == 0
    kept = expected > 0
    assert stats.chisquare(found[kept], expected[kept] / expected.sum() * drawn.size).pvalue > 1e-4
    np.testing.assert_allclose(table.unseen_probability(seen), expected.sum() / (counts[1:] ** alpha * (
        counts[1:] > 0)).sum())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10**6) | st.floats(1e-3, 1), min_size=1, max_size=40), st.floats(0, 2))
def test_columns_of_the_alias_table_add_up_to_the_probabilities(counts, alpha):
    table = AliasTable.from_counts([5, *counts, 1], alpha)
    share = table.thresholds / 2.0**64
    share[table.aliases == np.arange(1, table.n_items + 1)] = 1
    total = np.concatenate([[0], share]) + np.bincount(table.aliases, 1 - share, minlength=table.n_items + 1)
    weights = np.array([0, *(count**alpha for count in map(float, [*counts, 1]))])
    np.testing.assert_allclose(table.probabilities, weights / weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(total / table.n_items, table.probabilities, rtol=1e-9, atol=1e-15)
    assert (total[table.probabilities == 0] == 0).all()


def test_log_probabilities():
    table = AliasTable.from_counts([9, 4, 0, 1], 0.5)
    np.testing.assert_allclose(table.log_probabilities, [-np.inf, np.log(2 / 3), -np.inf, np.log(1 / 3)])
    np.testing.assert_allclose(AliasTable.uniform(4).log_probabilities[1:], np.log(1 / 4))


def test_the_uniform_table_draws_as_no_table(seen):
    arguments = {"users": [0, 1, 3], "positions": [4, 5, 6], "n_negatives": 50, "seed": 1, "epoch": 2}
    np.testing.assert_array_equal(sample_negatives(seen, table=AliasTable.uniform(9), **arguments),
                                  sample_negatives(seen, **arguments))


def test_importance_weights_estimate_the_sum_over_unseen_items(seen):
    """The correction that the docstring states: its mean is the sum, within 4 standard errors."""
    scores = np.random.default_rng(0).standard_normal(10)
    table = AliasTable.from_counts([0, 9, 3, 1, 4, 2, 8, 1, 5, 2], 0.75)
    drawn = sample_negatives(seen, [0], [0], 20000, seed=0, epoch=0, table=table)[0]
    terms = np.exp(scores - table.log_probabilities + np.log(table.unseen_probability(seen)[0]))[drawn]
    error = terms.mean() - np.exp(scores[[1, 3, 5, 6, 8, 9]]).sum()
    assert abs(error) < 4 * terms.std() / np.sqrt(len(terms))


def test_shared_draws_follow_the_table_and_the_step():
    table = AliasTable.from_counts([0, 1, 2, 3, 4], 1)
    drawn = shared_negatives(table, 10000, seed=1, step=3)
    assert drawn.shape == (10000,) and drawn.dtype == np.int64
    assert stats.chisquare(np.bincount(drawn, minlength=5)[1:], np.arange(1, 5) * 1000.0).pvalue > 1e-4
    np.testing.assert_array_equal(shared_negatives(table, 10, seed=1, step=3), drawn[:10])
    for other in ({"step": 4}, {"seed": 2}):
        arguments = {"seed": 1, "step": 3} | other
        assert (shared_negatives(table, 10, **arguments) != drawn[:10]).any()


def test_read_only_and_strided_inputs(seen):
    users, positions = np.repeat([0, 3, 1], 2)[::2], np.arange(6)[::2]
    expected = sample_negatives(seen, users.copy(), positions.copy(), 3, seed=0, epoch=0)
    users.flags.writeable = positions.flags.writeable = False
    for array in (seen.indptr, seen.items):
        array.flags.writeable = False
    np.testing.assert_array_equal(sample_negatives(seen, users, positions, 3, seed=0, epoch=0), expected)


@pytest.mark.parametrize("change, message", [
    ({"users": [1, 4]}, r"users\[1\] is 4; expected 0..3"), ({"users": [-1, 0]}, r"users\[0\] is -1"),
    ({"positions": [1]}, "positions has 1 entries; expected 2"), ({"n_negatives": 0}, "n_negatives is 0"),
    ({"seed": -1}, "seed is -1"), ({"epoch": 2**64}, "epoch is"), ({"num_threads": 0}, "num_threads is 0"),
])
def test_wrong_arguments_are_refused(seen, change, message):
    arguments = {"users": [0, 1], "positions": [0, 1], "n_negatives": 2, "seed": 0, "epoch": 0} | change
    with pytest.raises(ValueError, match=message):
        sample_negatives(seen, **arguments)


def test_a_user_who_has_seen_everything_is_named():
    seen = SeenItems.from_histories([0, 1, 4], [2, 3, 1, 2], 3)
    with pytest.raises(ValueError, match="user 1 has seen all 3 items"):
        sample_negatives(seen, [0, 1], [0, 1], 2, seed=0, epoch=0)
    with pytest.raises(ValueError, match="user 0 has seen every item that the table can draw"):
        sample_negatives(seen, [1, 0][1:], [0], 2, seed=0, epoch=0, table=AliasTable.from_counts([0, 0, 5, 0], 1))


def test_a_table_of_another_catalogue_is_refused(seen):
    for use in (AliasTable.uniform(8).unseen_probability, lambda seen: sample_negatives(
            seen, [0], [0], 1, seed=0, epoch=0, table=AliasTable.uniform(8))):
        with pytest.raises(ValueError, match="seen has 9 items, the table 8"):
            use(seen)


@pytest.mark.parametrize("counts, alpha, message", [
    ([0, 1, -1], 1, r"counts\[2\] is -1.0"), ([0, np.nan, 1], 1, r"counts\[1\] is nan"),
    ([0, 1], -0.5, "alpha is -0.5"), ([0, 1], np.inf, "alpha is inf"), ([5, 0, 0], 1, "every count is 0"),
    ([5], 1, r"counts has shape \(1,\)"), ([[1, 2]], 1, r"counts has shape \(1, 2\)"),
])
def test_impossible_counts_are_refused(counts, alpha, message):
    with pytest.raises(ValueError, match=message):
        AliasTable.from_counts(counts, alpha)


@FUZZ
@given(arrays(), st.sampled_from(("users", "positions", "indptr", "items", "counts")), st.booleans())
def test_negatives(values, argument, weighted):
    def call(array):
        table = AliasTable.from_counts(np.arange(N_ITEMS + 1), 1.0) if weighted else None
        seen, users, positions = SEEN, np.array([0, 1, 3]), np.array([5, 6, 7])
        if argument == "counts":
            table = AliasTable.from_counts(array, 0.5)
        elif argument in ("indptr", "items"):
            seen = SeenItems.from_histories(**{"indptr": INDPTR, "items": ITEMS} | {argument: array}, n_items=N_ITEMS)
            SeenItems(seen.indptr, seen.items, seen.n_items)
        elif argument == "users":
            users, positions = array, np.arange(np.size(array))
        else:
            positions = array
        found = sample_negatives(seen, users, positions, 3, seed=1, epoch=2, table=table, num_threads=2)
        assert ((found >= 1) & (found <= N_ITEMS)).all()
        return found

    if argument == "counts":
        answer(call, values.real)  # real numbers of any kind count
    else:
        check(call, values)


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "items")))
def test_seen_items_that_are_given_as_they_are(values, argument):
    def call(array):
        seen = SeenItems(**{"indptr": np.array([0, 2, 2, 3]), "items": np.array([1, 4, 7], np.int32)}
                         | {argument: array}, n_items=N_ITEMS)
        users = np.arange(len(seen.indptr) - 1)
        return sample_negatives(seen, users, users, 2, seed=0, epoch=0), np.diff(seen.indptr)[users]

    check(call, values)


@FUZZ
@given(arrays(), arrays(), arrays())
def test_alias_tables_that_are_given_as_they_are(probabilities, thresholds, aliases):
    for types in ((None,) * 3, (np.float64, np.uint64, np.int32)):
        with np.errstate(all="ignore"):
            parts = [part if kind is None or part.dtype.kind in "Oc" else part.astype(kind)
                     for part, kind in zip((probabilities, thresholds, aliases), types, strict=True)]
        try:
            table = AliasTable(*parts)
            found = sample_negatives(SEEN, [0, 1], [0, 1], 9, seed=0, epoch=0, table=table)
        except (ValueError, TypeError):
            continue
        assert ((found >= 1) & (found <= N_ITEMS)).all()
