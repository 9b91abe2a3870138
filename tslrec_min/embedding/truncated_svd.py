"""The largest singular values of a sparse matrix, and their right singular vectors.

They are eigenvectors of A^T A, found by a block Lanczos iteration with full orthogonalisation and thick restarts: the
basis grows block by block, and at its maximum size only the best approximations in it are kept. Blocks: Golub and
Underwood, "The Block Lanczos Method for Computing Eigenvalues", Mathematical Software III, 1977. Restarts: Wu and
Simon, "Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems", SIAM J. Matrix Anal. Appl. 22(2), 2000.
The projected matrix is computed in full, so nothing depends on its structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import embedding_bag

_BLOCK = 32
"""Directions that are added at once."""
_BLOCKS = 8
"""Blocks that are added before a restart."""
_RESTARTS = 50
_RESIDUAL = 1e-4
"""Maximum norm of (A^T A - s^2) v, relative to the largest s^2, at which s and v are found."""
_NOTHING = 1e-6
"""Relative to the largest s^2: smaller numbers are rounding errors of float32."""
_ROWS = 1 << 14
"""Rows of the basis that are rotated at once."""


@dataclass(frozen=True)
class SparseMatrix:
    """A sparse matrix [n, m] in CSR."""

    indptr: torch.Tensor
    """int64 [n+1]; row i has the entries indptr[i] .. indptr[i+1] - 1."""
    columns: torch.Tensor
    """int64 [N], 0..m-1."""
    values: torch.Tensor
    """float32 [N]."""
    width: int
    """m."""

    def times(self, dense: torch.Tensor) -> torch.Tensor:
        """Return the product with float32 [m, k], float32 [n, k]; every row is summed in the order of its entries."""
        return embedding_bag(self.columns, dense.contiguous(), self.indptr, mode="sum", per_sample_weights=self.values,
                             include_last_offset=True)

    def rows(self, start: int, stop: int) -> SparseMatrix:
        """Return the rows from `start` to `stop`, exclusive, or to the last one."""
        indptr = self.indptr[start:stop + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        return SparseMatrix(indptr - indptr[0], self.columns[entries], self.values[entries], self.width)

    def transposed(self) -> SparseMatrix:
        """Return the transposed matrix, [m, n]."""
        n_rows = len(self.indptr) - 1
        order = torch.argsort(self.columns, stable=True)
        rows = torch.repeat_interleave(torch.arange(n_rows), self.indptr.diff())
        ends = torch.bincount(self.columns, minlength=self.width).cumsum(0)
        return SparseMatrix(torch.cat([ends.new_zeros(1), ends]), rows[order], self.values[order], n_rows)


def right_singular_vectors(matrix: SparseMatrix, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the largest singular values and their right singular vectors.

    The same matrix gives the same result: the iteration starts at fixed random directions, and the largest entry of
    every vector is positive. Memory: the matrix twice, and float32 [m, count + 320].

    Args:
        matrix: [n, m], not zero.
        count: how many; fewer are returned if the rank is smaller.

    Returns:
        Singular values, float64 [k], the largest first, and vectors, float32 [m, k] with orthonormal columns.
    """
    keep = min(count + _BLOCK, matrix.width)
    space = _Subspace(matrix, keep + (_BLOCKS + 1) * _BLOCK)
    for _ in range(_RESTARTS):
        space.grow()
        squares, rotation = (part.flip(-1) for part in torch.linalg.eigh(space.projected()))
        residuals = space.residuals(rotation[:, :count])
        if not space.block.shape[1] or (residuals <= _RESIDUAL * squares[0]).all():
            break
        space.restart(squares[:keep], rotation[:, :keep])
    count = min(count, int((squares > _NOTHING * squares[0]).sum()))
    vectors = space.rotated(rotation[:, :count])
    signs = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    return squares[:count].sqrt(), vectors * signs


class _Subspace:
    """A growing orthonormal basis [m, size], and A^T A in it."""

    def __init__(self, matrix: SparseMatrix, largest: int) -> None:
        self._matrix, self._transposed = matrix, matrix.transposed()
        width, largest = matrix.width, min(largest, matrix.width)
        self._basis, self._size = torch.empty(width, largest), 0
        self._projected = torch.zeros(largest, largest, dtype=torch.float64)
        self._random = torch.Generator().manual_seed(0)
        start = torch.randn(width, min(_BLOCK, width), generator=self._random)
        self.block = _new_directions(self._image(start), self._basis[:, :0], 0.0)
        """float32 [m, k]: the directions to add next; none if the basis is that of the whole space."""
        self._rest, self._last = start, 0
        """Of the image of the block that was added last: what lies outside the basis. And that block's size."""

    def _image(self, vectors: torch.Tensor) -> torch.Tensor:
        return self._transposed.times(self._matrix.times(vectors))

    def grow(self) -> None:
        """Add blocks until the basis has its maximum size, or nothing is left to add."""
        while (added := self.block.shape[1]) and self._size + added <= self._basis.shape[1]:
            old, size = self._size, self._size + added
            self._basis[:, old:size] = self.block
            basis, image = self._basis[:, :size], self._image(self.block)
            products = basis.T @ image
            self._projected[:size, old:size], self._projected[old:size, :size] = products, products.T
            self._rest, self._last, self._size = image - basis @ products, added, size
            # The largest entry of the diagonal has the magnitude of the largest eigenvalue.
            self.block = _new_directions(self._rest, basis, _NOTHING * float(self._projected.diagonal().max()))
            if not self.block.shape[1]:  # a singular value that occurs more than 32 times shows only 32 of its vectors
                others = torch.randn(len(basis), min(_BLOCK, len(basis) - size), generator=self._random)
                self.block = _new_directions(others, basis, 0.0)

    def projected(self) -> torch.Tensor:
        """Return A^T A in the basis, float64 [size, size]."""
        return self._projected[:self._size, :self._size]

    def residuals(self, rotation: torch.Tensor) -> torch.Tensor:
        """Return the norms of (A^T A - s^2) v, float64 [k], for eigenvectors of `projected`, float64 [size, k].

        Only the block that was added last leads out of the basis.
        """
        return (self._rest @ rotation[-self._last:].float()).norm(dim=0).double()

    def rotated(self, rotation: torch.Tensor) -> torch.Tensor:
        """Return basis @ rotation, float32 [m, k]; it takes the place of the basis, which can't be used any more."""
        size, count = rotation.shape
        for rows in self._basis.split(_ROWS):
            rows[:, :count] = rows[:, :size] @ rotation.float()
        return self._basis[:, :count]

    def restart(self, squares: torch.Tensor, rotation: torch.Tensor) -> None:
        """Keep only eigenvectors of `projected`, float64 [size, k], with their eigenvalues, float64 [k]."""
        self._size = self.rotated(rotation).shape[1]
        self._projected.zero_().diagonal()[:self._size] = squares


def _new_directions(block: torch.Tensor, basis: torch.Tensor, least: float) -> torch.Tensor:
    """Return an orthonormal basis of what the columns of a block add to `basis`, float32 [m, at most k].

    Directions in which the block is shorter than `least` are left out, as they are rounding errors.
    """
    for shortest in (least, 0.5, 0.5):  # after the first pass all directions have norm 1, up to what was not orthogonal
        block = block - basis @ (basis.T @ block)
        squares, directions = torch.linalg.eigh((block.T @ block).double())
        kept = squares > max(shortest, 1e-30) ** 2
        block = block @ (directions[:, kept] / squares[kept].sqrt()).float()
    return block
