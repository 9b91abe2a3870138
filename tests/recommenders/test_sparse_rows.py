from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.recommenders.sparse_rows import weighted_row_sums

from .. import _reference as reference
from ..robustness.kernel_inputs import FUZZ, arrays, check

pytestmark = pytest.mark.kernel
INDPTR, ITEMS, WEIGHTS = np.array([0, 2, 2, 5]), np.array([1, 3, 2, 3, 2]), np.array([1.0, 2.0, 0.5, -1.0, 4.0])
ROW_INDPTR, ROW_ITEMS = np.array([0, 0, 2, 3, 5]), np.array([1, 3, 2, 3, 1])
ROW_VALUES = np.array([10.0, 1.0, 2.0, 5.0, 10.0])


def random_rows(rng, n_rows, n_items, longest):
    """Rows of random items with repeats, in any order: offsets and items."""
    lengths = rng.integers(0, longest + 1, size=n_rows)
    return np.concatenate([[0], np.cumsum(lengths)]), rng.integers(1, n_items + 1, size=lengths.sum()).astype(np.int32)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 150), st.one_of(st.integers(1, 200), st.integers(1000, 3000)), st.integers(0, 30),
       st.integers(0, 90), st.integers(1, 4), st.sampled_from([np.float32, np.float64]), st.booleans(),
       st.integers(0, 2**32 - 1))
def test_sums_equal_the_reference(n_users, n_items, most_entries, longest_row, num_threads, dtype, exact, seed):
    rng = np.random.default_rng(seed)
    indptr, items = random_rows(rng, n_users, n_items, most_entries)
    row_indptr, row_items = random_rows(rng, n_items, n_items, min(longest_row, 20_000 // n_items))
    row_indptr = np.concatenate([[0], row_indptr])
    weights, values = rng.normal(size=len(items)), rng.normal(size=len(row_items))
    if exact:  # sums of 0 are among them
        weights, values = np.round(weights * 2), np.round(values * 2)
    matrix = row_indptr, row_items, values.astype(dtype)
    arguments = indptr, items, weights.astype(dtype), *matrix, n_items
    sums = weighted_row_sums(*arguments, num_threads)
    assert (sums.indptr.dtype, sums.items.dtype, sums.values.dtype) == (np.int64, np.int32, np.float32)
    expected = reference.weighted_row_sums(*arguments)
    assert sums.items.tolist() == [item for user in expected for item in sorted(user)]
    np.testing.assert_array_equal(np.diff(sums.indptr), [len(user) for user in expected])
    flat = np.array([user[item] for user in expected for item in sorted(user)])
    np.testing.assert_allclose(sums.values, flat.astype(np.float32), rtol=0 if exact else 1e-6, atol=1e-12)
    for other in range(1, 5):
        again = weighted_row_sums(*arguments, other)
        assert sums.values.tobytes() == again.values.tobytes() and sums.items.tobytes() == again.items.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_by_hand(dtype):
    sums = weighted_row_sums(INDPTR, ITEMS, WEIGHTS, ROW_INDPTR, ROW_ITEMS, ROW_VALUES.astype(dtype), 3)
    assert sums.indptr.tolist() == [0, 2, 2, 5]
    assert sums.items.tolist() == [1, 3, 1, 2, 3]
    assert sums.values.tolist() == [30, 11, -10, 9, -5]


def test_large_sums_cancel_in_float64():
    sums = weighted_row_sums([0, 3], [1, 2, 1], [1.0, 1.0, -1.0], [0, 0, 1, 2], [2, 2],
                             np.array([1e12, 0.125], np.float32), 2)
    assert sums.values.tolist() == [0.125]


def test_nothing_to_add():
    for indptr, rows in (([0], ROW_INDPTR), ([0, 0, 0], ROW_INDPTR), ([0, 2], np.zeros(5, int))):
        chosen = ITEMS[:indptr[-1]]
        sums = weighted_row_sums(indptr, chosen, np.ones(len(chosen)), rows, ROW_ITEMS[:rows[-1]],
                                 ROW_VALUES[:rows[-1]], 3)
        assert len(sums) == len(indptr) - 1 and not len(sums.items)


@pytest.mark.parametrize("change, message", [
    ({"indptr": [0, 4]}, "indptr must rise from 0 to 5"), ({"row_indptr": [0, 5, 5, 5, 4]}, "row_indptr must rise"),
    ({"row_indptr": [0, 2, 3, 5]}, "row_indptr has 4 entries; expected 5"),
    ({"items": [1, 3, 2, 3, 4]}, r"items\[4\] is 4; expected 1..3"), ({"items": [0, 3, 2, 3, 1]}, r"items\[0\] is 0"),
    ({"row_items": [1, 3, 2, 3, 9]}, r"row_items\[4\] is 9"), ({"weights": np.ones(4)}, r"weights is float64 of shape"),
    ({"row_values": np.ones(5, int)}, "row_values is int64"), ({"row_values": np.ones(6)}, r"row_values is float64 of"),
    ({"num_threads": 0}, "num_threads is 0"), ({"n_items": 0}, "n_items is 0"),
])
def test_wrong_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        weighted_row_sums(**{"indptr": INDPTR, "items": ITEMS, "weights": WEIGHTS, "row_indptr": ROW_INDPTR,
                             "row_items": ROW_ITEMS, "row_values": ROW_VALUES, "n_items": 3} | change)


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "items", "row_indptr", "row_items")))
def test_any_arrays_are_taken_for_their_numbers_or_refused(values, argument):
    arguments = {"indptr": np.array([0, 3, 3, 5, 9]), "items": np.array([1, 4, 7, 2, 3, 5, 6, 8, 9]),
                 "row_indptr": np.array([0, 0, 1, 2, 3, 3, 3, 3, 3, 3, 9]), "row_items": np.arange(9) + 1}
    check(lambda array: weighted_row_sums(**arguments | {argument: array}, weights=np.ones(9), row_values=np.ones(9),
                                          n_items=9, num_threads=2), values)
