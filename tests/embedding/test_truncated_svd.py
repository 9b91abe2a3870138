"""Singular values and vectors of sparse matrices, compared with a dense decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.embedding.truncated_svd import SparseMatrix, right_singular_vectors


def sparse(dense: np.ndarray) -> SparseMatrix:
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    return SparseMatrix(*map(torch.from_numpy, (indptr, columns, dense[rows, columns].astype(np.float32))),
                      dense.shape[1])


def random_matrix(rows: int, columns: int, seed: int = 0, density: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal((rows, columns)) * (random.random((rows, columns)) < density)).astype(np.float32)


def test_products_and_parts_are_those_of_the_dense_matrix() -> None:
    dense = random_matrix(70, 50)
    matrix, right, left = sparse(dense), torch.randn(50, 3), torch.randn(70, 3)
    np.testing.assert_allclose(matrix.times(right), dense @ right.numpy(), atol=1e-5)
    np.testing.assert_allclose(matrix.transposed().times(left), dense.T @ left.numpy(), atol=1e-5)
    np.testing.assert_allclose(matrix.rows(60, 90).times(right), dense[60:] @ right.numpy(), atol=1e-5)
    assert not matrix.rows(3, 3).times(right).numel()


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 60), columns=st.integers(1, 60), count=st.integers(1, 70), seed=st.integers(0, 99))
def test_small_matrices_are_decomposed_exactly(rows: int, columns: int, count: int, seed: int) -> None:
    dense = random_matrix(rows, columns, seed, density=0.3)
    dense[0, 0] = 1
    expected = np.linalg.svd(dense.astype(np.float64), compute_uv=False)
    values, vectors = right_singular_vectors(sparse(dense), count)
    rank = (expected > 2e-3 * expected[0]).sum()
    assert min(count, rank) <= len(values) <= min(count, *dense.shape)
    np.testing.assert_allclose(values, expected[:len(values)], rtol=1e-3, atol=1e-3 * expected[0])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(dense @ vectors.numpy(), axis=0), values, atol=1e-3 * expected[0])


def test_large_matrices_need_restarts_and_end_at_the_right_subspace() -> None:
    dense = random_matrix(1500, 1200, density=0.05)  # a spectrum without gaps
    _, expected, directions = np.linalg.svd(dense.astype(np.float64), full_matrices=False)
    values, vectors = right_singular_vectors(sparse(dense), 20)
    np.testing.assert_allclose(values, expected[:20], rtol=1e-5)
    kept = np.linalg.norm(dense @ vectors.numpy().astype(np.float64)) ** 2
    assert kept == pytest.approx(np.square(expected[:20]).sum(), rel=1e-5)
    np.testing.assert_allclose(np.abs(np.diag(directions[:20] @ vectors.numpy())), 1, atol=1e-2)


def test_repeated_singular_values_are_all_found() -> None:
    dense = np.diag(np.repeat([3.0, 2.0, 1.0], 40)).astype(np.float32)
    values, vectors = right_singular_vectors(sparse(dense), 60)
    np.testing.assert_allclose(values, np.repeat([3.0, 2.0], [40, 20]), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors[80:], axis=1), 0, atol=1e-3)
    values, vectors = right_singular_vectors(sparse(np.eye(600, dtype=np.float32)), 192)  # titles of one word each
    np.testing.assert_allclose(values, np.ones(192), rtol=1e-5)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(192), atol=1e-5)


def test_no_more_than_the_rank_is_returned() -> None:
    random = np.random.default_rng(0)
    dense = (random.standard_normal((300, 7)) @ random.standard_normal((7, 200))).astype(np.float32)
    values, vectors = right_singular_vectors(sparse(dense), 50)
    assert values.shape == (7,) and vectors.shape == (200, 7)


def test_the_result_is_reproducible_and_signs_are_fixed() -> None:
    matrix = sparse(random_matrix(400, 500))
    first = right_singular_vectors(matrix, 12)[1]
    torch.manual_seed(7)
    assert torch.equal(first, right_singular_vectors(matrix, 12)[1])
    negated = SparseMatrix(matrix.indptr, matrix.columns, -matrix.values, matrix.width)
    np.testing.assert_allclose(first, right_singular_vectors(negated, 12)[1], atol=1e-6)
    assert (first.gather(0, first.abs().argmax(0, keepdim=True)) > 0).all()
