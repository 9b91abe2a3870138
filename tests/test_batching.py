from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.batching import Windows, history_batch, next_item_batch, next_item_windows

from . import _reference as reference

LENGTHS = [0, 1, 2, 7, 3, 0, 12, 1, 5]


def csr(lengths, dtype=np.int32):
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return indptr, np.arange(1, indptr[-1] + 1).astype(dtype) * 3


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
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, reference.left_pad(items, indptr[users], indptr[users + 1], 4))
    windows = next_item_windows(indptr, 4, np.array([0, 1, 2, 3, 0, 1, 2, 3, 0]))
    select = np.arange(len(windows))[::-1]
    inputs, targets = next_item_batch(items, windows, select, 4, num_threads=num_threads)
    first, stop = windows.first_target[select], windows.input_stop[select]
    np.testing.assert_array_equal(inputs, reference.left_pad(items, windows.row_start[select], stop, 4))
    np.testing.assert_array_equal(targets, reference.left_pad(items, first, stop + 1, 4))


def test_a_window_by_hand():
    indptr, items = np.array([0, 6]), np.array([11, 12, 13, 14, 15, 16])
    windows = next_item_windows(indptr, 3, [0])
    inputs, targets = next_item_batch(items, windows, [0, 1], 3)
    assert inputs.tolist() == [[0, 11, 12], [13, 14, 15]]
    assert targets.tolist() == [[0, 12, 13], [14, 15, 16]]
    windows = next_item_windows(indptr, 3, [2])
    inputs, targets = next_item_batch(items, windows, [0, 1, 2], 3)
    assert inputs.tolist() == [[0, 0, 11], [12, 13, 14], [13, 14, 15]]  # 13 and 14: context, not targets again
    assert targets.tolist() == [[0, 0, 12], [13, 14, 15], [0, 0, 16]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 23), max_size=12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_target_is_in_exactly_one_window(lengths, max_len, seed):
    indptr, items = csr(lengths)
    phases = np.random.default_rng(seed).integers(0, max_len, size=len(lengths))
    windows = next_item_windows(indptr, max_len, phases)
    cuts = [list(range(first, stop + 1))
            for first, stop in zip(windows.first_target, windows.input_stop, strict=True)]
    assert cuts == reference.window_targets(indptr.tolist(), max_len, phases.tolist())
    inputs, targets = next_item_batch(items, windows, np.arange(len(windows)), max_len)
    wanted = [item for start, stop in zip(indptr[:-1], indptr[1:], strict=True) for item in items[start + 1:stop]]
    assert targets[targets > 0].tolist() == wanted
    assert (inputs[targets > 0] == targets[targets > 0] - 3).all()  # the item before: ids rise by 3
    full = inputs[:, 0] > 0
    assert (full | (windows.input_stop - windows.row_start < max_len)).all()  # context as long as possible


def test_empty_cases():
    indptr, items = csr([0, 1, 0])
    windows = next_item_windows(indptr, 5, [0, 4, 2])
    assert len(windows) == 0
    inputs, targets = next_item_batch(items, windows, [], 5)
    assert inputs.shape == targets.shape == (0, 5)
    assert history_batch(indptr, items, [0, 2], 3).tolist() == [[0] * 3] * 2
    assert history_batch(np.array([0, 0]), np.empty(0, dtype=np.int32), [0], 3).tolist() == [[0] * 3]
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
        items, Windows(np.array([0]), np.array([len(items)]), np.array([1])), [0], 4), "end of a row"),
])
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*csr(LENGTHS))
