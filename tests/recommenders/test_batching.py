from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders._batching import hide_items, pad_rows
from tslrec_min.recommenders.batching import (
    Windows,
    cloze_batch,
    fitting_max_len,
    history_batch,
    length_parts,
    next_item_batch,
    next_item_windows,
    window_phases,
)

from .. import _reference as reference
from ..robustness.kernel_inputs import FUZZ, INDPTR, ITEMS, N_ITEMS, arrays, check, unhurt_rows, windows_with

pytestmark = pytest.mark.kernel
LENGTHS = [0, 1, 2, 7, 3, 0, 12, 1, 5]
CLOZE = {"mask": 99, "probability": 0.3, "last_probability": 0.2, "seed": 7, "epoch": 2}


def csr(lengths, dtype=np.int32):
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return indptr, np.arange(1, indptr[-1] + 1).astype(dtype) * 3


def squared(rows):
    width = max(map(len, rows), default=1)
    return [row + [0] * (width - len(row)) for row in rows]


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("layout", ["plain", "read-only", "strided"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_batches_equal_the_reference(dtype, layout, num_threads):
    indptr, items = csr(LENGTHS, dtype)
    if layout == "read-only":
        items.flags.writeable = indptr.flags.writeable = False
    if layout == "strided":
        items, indptr = np.repeat(items, 2)[::2], np.repeat(indptr, 2)[::2]
    users = np.array([6, 0, 3, 3, 8])
    got = history_batch(indptr, items, users, 4, num_threads=num_threads)
    assert got.items.dtype == np.int64 and got.lengths.tolist() == [4, 0, 4, 4, 4] and got.targets.shape == (5, 0)
    np.testing.assert_array_equal(got.items, reference.padded(items, indptr[users], indptr[users + 1], 4))
    windows = next_item_windows(indptr, 4, np.array([0, 1, 2, 3, 0, 1, 2, 3, 0]))
    select = np.arange(len(windows))[::-1]
    batch = next_item_batch(items, windows, select, 4, num_threads=num_threads)
    inputs, targets = reference.next_item_rows(items, windows.row_start[select], windows.input_stop[select],
                                               windows.first_target[select], 4)
    assert batch.items.tolist() == squared(inputs) and batch.targets.tolist() == squared(targets)
    assert batch.lengths.tolist() == [len(row) for row in inputs]


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_kernels_give_the_same_for_any_number_of_threads(num_threads):
    """The functions above wake threads for large batches only."""
    indptr, items = csr([*range(40)] * 4)
    lengths, keys = np.diff(indptr), range(160)
    rows, targets = np.empty((160, 39), dtype=np.int64), np.empty((160, 39), dtype=np.int64)
    pad_rows(items, indptr[:-1], lengths, lengths // 3, rows, num_threads)
    expected = reference.padded(items, indptr[:-1], indptr[1:], 39)
    expected[np.arange(39) < lengths[:, None] // 3] = 0
    np.testing.assert_array_equal(rows, expected)
    pad_rows(items, indptr[:-1], lengths, 0 * lengths, rows, num_threads)
    hide_items(rows, targets, lengths, np.array(keys), 999, 7, 2, 2**31, 2**30, num_threads)
    epoch = reference.subkey(reference.mix(7), 2)
    wanted = [reference.cloze_row(items[start:stop].tolist(), reference.subkey(epoch, key), 999, 0.5, 0.25)
              for start, stop, key in zip(indptr[:-1], indptr[1:], keys, strict=True)]
    assert [rows.tolist(), targets.tolist()] == [squared([pair[part] for pair in wanted]) for part in (0, 1)]


def test_a_window_by_hand():
    indptr, items = np.array([0, 6]), np.array([11, 12, 13, 14, 15, 16])
    windows = next_item_windows(indptr, 3, [0])
    batch = next_item_batch(items, windows, [0, 1], 3)
    assert batch.items.tolist() == [[11, 12, 0], [13, 14, 15]]
    assert batch.targets.tolist() == [[12, 13, 0], [14, 15, 16]]
    windows = next_item_windows(indptr, 3, [2])
    batch = next_item_batch(items, windows, [0, 1, 2], 3)
    assert batch.items.tolist() == [[11, 0, 0], [12, 13, 14], [13, 14, 15]]
    assert batch.targets.tolist() == [[12, 0, 0], [13, 14, 15], [0, 0, 16]]  # 13 and 14: context, not targets again
    assert windows.users.tolist() == [0, 0, 0] and batch.lengths.tolist() == [1, 3, 3]
    assert next_item_batch(items, windows, [0], 3).items.tolist() == [[11]]  # as wide as the longest row


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 23), max_size=12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_target_is_in_exactly_one_window(lengths, max_len, seed):
    indptr, items = csr(lengths)
    phases = np.random.default_rng(seed).integers(0, max_len, size=len(lengths))
    windows = next_item_windows(indptr, max_len, phases)
    cuts = [list(range(first, stop + 1))
            for first, stop in zip(windows.first_target, windows.input_stop, strict=True)]
    assert cuts == reference.window_targets(indptr.tolist(), max_len, phases.tolist())
    batch = next_item_batch(items, windows, np.arange(len(windows)), max_len)
    wanted = [item for start, stop in zip(indptr[:-1], indptr[1:], strict=True) for item in items[start + 1:stop]]
    assert batch.targets[batch.targets > 0].tolist() == wanted
    assert (batch.items[batch.targets > 0] == batch.targets[batch.targets > 0] - 3).all()  # ids rise by 3
    full = batch.lengths == max_len
    assert (full | (windows.input_stop - windows.row_start == batch.lengths)).all()  # context as long as possible
    assert (np.diff(indptr)[windows.users] >= 2).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_random_phases_make_no_more_windows_than_needed(lengths, max_len, seed):
    indptr, _ = csr(lengths)
    phases = window_phases(indptr, max_len, np.random.default_rng(seed))
    windows = next_item_windows(indptr, max_len, phases)
    needed = [-(-max(length - 1, 0) // max_len) for length in lengths]
    assert np.bincount(windows.users, minlength=len(lengths)).tolist() == (needed if lengths else [])


def test_random_phases_cut_long_histories_everywhere():
    indptr = np.array([0, 24])  # 23 targets, windows of 5: two places are left over
    random = np.random.default_rng(0)
    assert {int(window_phases(indptr, 5, random)[0]) for _ in range(50)} == {0, 1, 2}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=200))
def test_parts_hold_every_row_once_with_little_padding(lengths):
    parts = length_parts(lengths)
    assert sorted(np.concatenate([[], *parts]).astype(int).tolist()) == list(range(len(lengths)))
    sizes = [np.array(lengths)[part] for part in parts]
    assert all((np.diff(part) <= 0).all() for part in sizes)  # the longest first
    assert all(before.min() >= after.max() for before, after in zip(sizes, sizes[1:], strict=False))
    # A row's padding times the rows from it on is at most 1024.
    assert sum((part[0] - part).sum() for part in sizes) <= 1024 * sum(1 / n for n in range(1, len(lengths) + 1))


def test_parts_are_made_where_they_save_padding():
    assert [part.tolist() for part in length_parts([5, 7, 6])] == [[1, 2, 0]]
    assert [part.tolist() for part in length_parts([10] * 64 + [200])] == [[64], [*range(64)]]
    lengths = np.random.default_rng(0).geometric(0.02, size=128)
    padded = sum(lengths[part].max() * len(part) for part in length_parts(lengths))
    assert padded < 1.5 * lengths.sum() < 0.5 * lengths.max() * len(lengths)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 23), min_size=1, max_size=12), st.integers(1, 9), st.integers(0, 2**64 - 1),
       st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1, 2, 4]))
def test_cloze_equals_the_reference(lengths, max_len, seed, probability, last_probability, num_threads):
    indptr, items = csr(lengths)
    windows = next_item_windows(indptr, max_len, np.zeros(len(lengths), dtype=np.int64))
    select = np.arange(len(windows))[::-1]
    batch = cloze_batch(items, windows, select, max_len, mask=999, probability=probability,
                        last_probability=last_probability, seed=seed, epoch=3, num_threads=num_threads)
    expected = []
    for window in select:
        stop = int(windows.input_stop[window]) + 1
        row = items[max(int(windows.row_start[window]), stop - max_len):stop].tolist()
        key = reference.subkey(reference.subkey(reference.mix(seed), 3), stop)
        expected.append(reference.cloze_row(row, key, 999, probability, last_probability))
    assert batch.items.tolist() == squared([row[0] for row in expected])
    assert batch.targets.tolist() == squared([row[1] for row in expected])
    assert ((batch.targets > 0).sum(axis=1) > 0).all() and (batch.targets[batch.items != 999] == 0).all()


def test_cloze_hides_as_often_as_asked():
    indptr, items = csr([51] * 2000)
    windows = next_item_windows(indptr, 50, np.zeros(2000, dtype=np.int64))
    batch = cloze_batch(items, windows, np.arange(len(windows)), 50, **CLOZE | {"last_probability": 0.1})
    hidden = batch.targets > 0
    last_alone = (hidden.sum(axis=1) == 1) & hidden[np.arange(len(hidden)), batch.lengths - 1]
    usual = hidden[~last_alone & (batch.lengths == 50)]
    assert abs(usual.mean() - 0.3) < 0.01  # about 90,000 draws: 0.0015 is one standard deviation
    assert abs(last_alone[batch.lengths == 50].mean() - 0.1) < 0.03
    other = cloze_batch(items, windows, np.arange(len(windows)), 50, **CLOZE | {"epoch": 3})
    assert (other.targets != batch.targets).any()


def test_empty_cases():
    indptr, items = csr([0, 1, 0])
    windows = next_item_windows(indptr, 5, [0, 4, 2])
    assert len(windows) == 0 and length_parts([]) == []
    batch = next_item_batch(items, windows, [], 5)
    assert batch.items.shape == batch.targets.shape == (0, 1)
    assert history_batch(indptr, items, [0, 2], 3).items.tolist() == [[0]] * 2
    assert history_batch(np.array([0, 0]), np.empty(0, dtype=np.int32), [0], 3).lengths.tolist() == [0]
    assert len(next_item_windows([0], 5, [])) == 0


@pytest.mark.parametrize("call, message", [
    (lambda indptr, items: next_item_windows(indptr, 0, [0] * 9), "max_len is 0"),
    (lambda indptr, items: next_item_windows(indptr, 4, [0] * 8), "phases has 8 entries; expected 9"),
    (lambda indptr, items: next_item_windows(indptr, 4, [0] * 8 + [4]), r"phases\[8\] is 4; expected 0..3"),
    (lambda indptr, items: next_item_windows([0, 5, 3], 4, [0, 0]), "indptr must rise"),
    (lambda indptr, items: next_item_windows([], 4, []), "indptr must rise"),
    (lambda indptr, items: history_batch(indptr, items, [9], 4), r"users\[0\] is 9; expected 0..8"),
    (lambda indptr, items: history_batch(indptr, items, [-1], 4), r"users\[0\] is -1"),
    (lambda indptr, items: history_batch(indptr, items, [1.5], 4), "users is float64"),
    (lambda indptr, items: history_batch(indptr, items[:-1], [8], 4), "end of a row"),
    (lambda indptr, items: history_batch([0, 4, 2], items, [1], 4), "ends before it starts"),
    (lambda indptr, items: history_batch(indptr, items.astype(float), [1], 4), "items is float64"),
    (lambda indptr, items: history_batch(indptr, items, [1], 4, num_threads=0), "num_threads is 0"),
    (lambda indptr, items: history_batch(indptr, items, [1], 4.0), "max_len is 4.0; expected a whole number"),
    (lambda indptr, items: next_item_batch(items, next_item_windows(indptr, 4, [0] * 9), [99], 4), "select"),
    (lambda indptr, items: next_item_batch(
        items, Windows(*(np.array([n]) for n in (0, 0, len(items), 1))), [0], 4), "end of a row"),
    (lambda indptr, items: cloze_batch(items, next_item_windows(indptr, 4, [0] * 9), [0], 4,
                                       **CLOZE | {"probability": 1.5}), "probability is 1.5; expected 0..1"),
    (lambda indptr, items: cloze_batch(
        items, Windows(*(np.array([n]) for n in (0, 0, len(items), 1))), [0], 4, **CLOZE), "end of a row"),
    (lambda indptr, items: length_parts([1.5]), "lengths is float64"),
])
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*csr(LENGTHS))


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "users", "items")), st.integers(1, 4))
def test_histories(values, argument, max_len):
    given_arguments = {"indptr": INDPTR, "items": ITEMS, "users": np.array([3, 0])}

    def call(array):
        if argument == "items":  # int32 and int64 alone: no copy is made of all histories
            array = array if array is values else array.astype(values.dtype)
        batch = history_batch(**given_arguments | {argument: array}, max_len=max_len, num_threads=2)
        return [batch.items if argument == "items" else unhurt_rows(batch.items), batch.lengths]

    check(call, values)


@FUZZ
@given(arrays(), st.sampled_from(("users", "row_start", "input_stop", "first_target")), st.integers(1, 4),
       st.booleans())
def test_windows_of_any_numbers(values, field, max_len, cloze):
    def call(array):
        windows, select = windows_with(field, array), np.arange(4)
        if cloze:
            batch = cloze_batch(ITEMS, windows, select, max_len, mask=N_ITEMS + 1, probability=0.3,
                                last_probability=0.1, seed=0, epoch=0, num_threads=2)
        else:
            batch = next_item_batch(ITEMS, windows, select, max_len, num_threads=2)
        return [unhurt_rows(batch.items), unhurt_rows(batch.targets)]

    check(call, values)


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "phases", "select", "lengths")))
def test_plans_of_batches(values, argument):
    calls = {"indptr": lambda array: next_item_windows(array, 3, np.zeros(max(0, len(array) - 1), np.int64)),
             "phases": lambda array: next_item_windows(INDPTR, 3, array),
             "select": lambda array: next_item_batch(ITEMS, next_item_windows(INDPTR, 3, [0] * 4), array, 3),
             "lengths": lambda array: np.concatenate([np.empty(0, np.int64), *length_parts(array)])}
    check(calls[argument], values)


@pytest.mark.parametrize(("lengths", "chosen"), [
    ([3] * 10, 50), ([50] * 100, 50), ([51] + [3] * 9, 50), ([51] * 2 + [3] * 9, 100), ([150] * 2 + [3] * 9, 200),
    ([3000] * 5, 200)])
def test_max_len_is_chosen_so_that_nine_in_ten_histories_fit(lengths, chosen):
    assert fitting_max_len(lengths) == chosen
