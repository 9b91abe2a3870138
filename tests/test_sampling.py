from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tslrec_min.sampling import SeenItems, uniform_negatives


@pytest.fixture
def seen():
    """Four users of nine items: some items, none, all but one, the first and last ones with a repeat."""
    histories = [[4, 2, 7], [], [1, 2, 3, 4, 5, 7, 8, 9], [9, 1, 9, 2, 8]]
    indptr = np.cumsum([0] + [len(history) for history in histories])
    return SeenItems.from_histories(indptr, sum(histories, []), 9)


def test_seen_items_are_sorted_and_unique(seen):
    rows = [row.tolist() for row in np.split(seen.items, seen.indptr[1:-1])]
    assert rows == [[2, 4, 7], [], [1, 2, 3, 4, 5, 7, 8, 9], [1, 2, 8, 9]]
    assert seen.items.dtype == np.int32 and seen.indptr.dtype == np.int64
    assert seen.counts(np.array([3, 1])).tolist() == [4, 0]


def test_seen_items_of_nobody():
    nobody = SeenItems.from_histories([0], [], 5)
    assert len(nobody.items) == 0 and nobody.indptr.tolist() == [0]
    assert uniform_negatives(nobody, [], [], 3, seed=0, epoch=0).shape == (0, 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 15), max_size=20), min_size=1, max_size=8), st.integers(0, 2**64 - 1),
       st.integers(0, 1000))
def test_never_a_seen_item_and_the_same_in_any_order(histories, seed, epoch):
    indptr = np.cumsum([0] + [len(history) for history in histories])
    seen = SeenItems.from_histories(indptr, sum(histories, []), 15 + 1)  # item 16 is never seen
    users = np.repeat(np.arange(len(histories)), 5)
    positions = np.arange(len(users)) * 7
    drawn = uniform_negatives(seen, users, positions, 6, seed=seed, epoch=epoch)
    assert drawn.dtype == np.int64 and drawn.shape == (len(users), 6)
    assert drawn.min() >= 1 and drawn.max() <= 16
    assert not any(set(row) & set(histories[user]) for user, row in zip(users, drawn.tolist(), strict=True))
    order = np.random.default_rng(seed).permutation(len(users))
    for num_threads in (1, 2, 4):
        again = uniform_negatives(seen, users[order], positions[order], 6, seed=seed, epoch=epoch,
                                  num_threads=num_threads)
        np.testing.assert_array_equal(again, drawn[order])
    fewer = uniform_negatives(seen, users[-1:], positions[-1:], 2, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(fewer, drawn[-1:, :2])


@pytest.mark.parametrize("vary", ["position", "column", "epoch", "seed"])
def test_draws_are_uniform_along_every_part_of_the_key(seen, vary):
    def draw(positions=(5,), k=1, epoch=3, seed=11):
        return uniform_negatives(seen, np.full(len(positions), 3), positions, k, seed=seed, epoch=epoch).ravel()

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
    drawn = uniform_negatives(nobody, np.zeros(20000, dtype=int), np.arange(20000), 1, seed=1, epoch=0)
    counts = np.bincount(((drawn.ravel() - 1) * 12) // n_items, minlength=12)
    assert len(counts) == 12 and stats.chisquare(counts).pvalue > 1e-4


def _splitmix_draw(key, bound):
    """Return Lemire's draw with Python's unlimited integers; mix(key) is a step of SplitMix64."""
    word = _mix(key)
    while word * bound % 2**64 < 2**64 % bound:
        key += 0x9E3779B97F4A7C15
        word = _mix(key)
    return word * bound >> 64


def _mix(state):
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_equals_a_plain_restatement(seen):
    assert _mix(0) == 0xE220A8397B1DCDAF  # first output of SplitMix64 with seed 0, as its author's code gives it
    unseen = {0: [1, 3, 5, 6, 8, 9], 1: list(range(1, 10)), 2: [6], 3: [3, 4, 5, 6, 7]}
    users, positions = np.array([0, 1, 2, 3, 0]), np.array([0, 10, 2**40, 7, 123456789])
    drawn = uniform_negatives(seen, users, positions, 4, seed=2**63 + 5, epoch=9)
    for row, user, position in zip(drawn.tolist(), users.tolist(), positions.tolist(), strict=True):
        key = _mix(2**63 + 5)
        for part in (9, position):
            key = _mix(key ^ _mix(part))
        for column, item in enumerate(row):
            assert item == unseen[user][_splitmix_draw(_mix(key ^ _mix(column)), len(unseen[user]))]


def _unmix(mixed):
    """Invert `_mix`: undo each shift by repeating it, each product by the inverse factor."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        z = mixed
        for _ in range(64 // shift):
            z = mixed ^ (z >> shift)
        mixed = z * pow(factor, -1, 2**64) % 2**64
    return (mixed - 0x9E3779B97F4A7C15) % 2**64


def test_a_word_that_must_be_rejected_is_drawn_again(seen):
    row_key = _unmix(_unmix(0)) ^ _mix(0)  # the row's key whose first word is 0, the one word to reject of 5 items
    position = _unmix(_unmix(row_key) ^ _mix(_mix(7) ^ _mix(0)))
    position -= 2**64 if position >= 2**63 else 0
    drawn = uniform_negatives(seen, [3], [position], 1, seed=7, epoch=0)
    second_word = _mix(_unmix(0) + 0x9E3779B97F4A7C15)
    assert drawn.tolist() == [[3 + (second_word * 5 >> 64)]] and drawn[0, 0] != 3  # word 0 would give the first: 3


def test_read_only_and_strided_inputs(seen):
    users, positions = np.repeat([0, 3, 1], 2)[::2], np.arange(6)[::2]
    expected = uniform_negatives(seen, users.copy(), positions.copy(), 3, seed=0, epoch=0)
    users.flags.writeable = positions.flags.writeable = False
    for array in (seen.indptr, seen.items):
        array.flags.writeable = False
    np.testing.assert_array_equal(uniform_negatives(seen, users, positions, 3, seed=0, epoch=0), expected)


@pytest.mark.parametrize("change, message", [
    ({"users": [1, 4]}, r"users\[1\] is 4; expected 0..3"), ({"users": [-1, 0]}, r"users\[0\] is -1"),
    ({"positions": [1]}, "positions has 1 entries; expected 2"), ({"n_negatives": 0}, "n_negatives is 0"),
    ({"seed": -1}, "seed is -1"), ({"epoch": 2**64}, "epoch is"), ({"num_threads": 0}, "num_threads is 0"),
])
def test_wrong_arguments_are_refused(seen, change, message):
    arguments = {"users": [0, 1], "positions": [0, 1], "n_negatives": 2, "seed": 0, "epoch": 0} | change
    with pytest.raises(ValueError, match=message):
        uniform_negatives(seen, **arguments)


def test_a_user_who_has_seen_everything_is_named():
    seen = SeenItems.from_histories([0, 1, 4], [2, 3, 1, 2], 3)
    with pytest.raises(ValueError, match="user 1 has seen all 3 items"):
        uniform_negatives(seen, [0, 1], [0, 1], 2, seed=0, epoch=0)


@pytest.mark.parametrize("indptr, items, message", [
    ([0, 2], [1, 6], r"items\[1\] is 6; expected 1..5"), ([0, 2], [0, 1], r"items\[0\] is 0"),
    ([0, 3], [1, 2], "indptr must rise"), ([1, 2], [1, 2], "indptr must rise"), ([0, 2, 1, 2], [1, 2], "indptr"),
])
def test_broken_histories_are_refused(indptr, items, message):
    with pytest.raises(ValueError, match=message):
        SeenItems.from_histories(indptr, items, 5)


def test_unsorted_seen_items_are_refused():
    SeenItems(np.array([0, 0, 2, 2, 3]), np.array([2, 5, 1]), 5)
    for items in ([5, 2, 1], [2, 2, 1]):
        with pytest.raises(ValueError, match="from_histories"):
            SeenItems(np.array([0, 0, 2, 2, 3]), np.array(items), 5)
