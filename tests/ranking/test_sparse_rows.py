from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.ranking.sparse_rows import SparseRows

from ..robustness.kernel_inputs import FUZZ, arrays, check

pytestmark = pytest.mark.kernel


def test_rows_are_checked_and_get_the_kernels_layout():
    rows = SparseRows([0, 2, 2, 3], np.array([3, 7, 1, 1])[:3], np.arange(6.0, dtype=np.float32)[::2])
    assert len(rows) == 3
    assert (rows.indptr.dtype, rows.items.dtype, rows.values.dtype) == (np.int64, np.int32, np.float32)
    assert rows.items.tolist() == [3, 7, 1] and rows.values.tolist() == [0, 2, 4]
    assert rows.values.flags.c_contiguous
    assert len(SparseRows([0], [], np.empty(0))) == 0


@pytest.mark.parametrize("rows", [slice(0, 3), slice(1, 3), slice(2, None), slice(-2, 10), slice(2, 1), slice(3, 3)])
def test_consecutive_rows_are_those_of_the_matrix(rows):
    matrix = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 4, 5]])
    owners, items = matrix.nonzero()
    sparse = SparseRows(np.cumsum([0, 2, 0, 3]), items, matrix[owners, items].astype(np.float32))
    part = sparse.take(rows)
    dense = np.zeros_like(matrix[rows])
    assert len(part) == len(dense)
    for row in range(len(part)):
        entries = slice(part.indptr[row], part.indptr[row + 1])
        dense[row, part.items[entries]] = part.values[entries]
    np.testing.assert_array_equal(dense, matrix[rows])
    with pytest.raises(ValueError, match="the slice has step 2"):
        sparse.take(slice(0, 3, 2))


@pytest.mark.parametrize("change, message", [
    ({"indptr": [0, 2]}, "indptr must rise from 0 to 3"), ({"indptr": [0, 4, 3]}, "indptr must rise from 0 to 3"),
    ({"items": [2, 1, 3]}, r"items\[1\] is not above"), ({"items": [2, 2, 3]}, r"items\[1\] is not above"),
    ({"items": [0, 1, 3]}, r"items\[0\] is 0"), ({"items": [1, 2, 2**31 - 1]}, r"items\[2\] is 2147483647"),
    ({"items": [1.0, 2.0, 3.0]}, "items is float64"), ({"items": [[1, 2, 3]]}, "expected integers of one dimension"),
    ({"values": np.ones(2)}, "values has 2 entries; expected 3"), ({"values": np.ones(3, np.float16)}, "is float16"),
    ({"values": np.ones((3, 1))}, r"values is float64 of shape \(3, 1\)"), ({"values": [1, 2, 3]}, "values is int64"),
])
def test_what_is_no_sparse_matrix_is_refused(change, message):
    assert len(SparseRows([0, 2, 3], [1, 2, 1], np.ones(3))) == 2  # the next row begins anew
    with pytest.raises(ValueError, match=message):
        SparseRows(**{"indptr": [0, 3, 3], "items": [1, 2, 3], "values": np.ones(3)} | change)


@FUZZ
@given(arrays(), st.sampled_from(("indptr", "items")))
def test_any_arrays_are_taken_for_their_numbers_or_refused(values, argument):
    arguments = {"indptr": np.array([0, 3, 3, 5, 9]), "items": np.array([1, 4, 7, 2, 3, 5, 6, 8, 9])}
    check(lambda array: SparseRows(**arguments | {argument: array}, values=np.ones(9)), values)
