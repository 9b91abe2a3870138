"""Nearest rows by cosine."""

from __future__ import annotations

import numpy as np

from .ranks import top_k

BLOCK = 1 << 14
"""Items compared at once: only the normalised rows of one block are held in memory."""


def nearest(rows: np.ndarray, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest rows by cosine; a row of zeros has cosine 0 with every row.

    Args:
        rows: float32 [I, D].
        asked: int64 [n], the rows whose neighbours are wanted.
        k: neighbours of each, at least 1.

    Returns:
        Rows int64 [n, min(k, I-1)], the nearest first, ties by the smaller row, and their cosines, float32.
    """
    queries, width = _normalised(rows[asked]), rows.shape[1]
    near, cosines = np.empty((len(asked), 0), np.int64), np.empty((len(asked), 0), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = np.zeros((min(BLOCK, len(rows) - start) + 1, width), np.float32)  # row 0 is padding
        block[1:] = _normalised(rows[start:start + BLOCK])
        best, scores = top_k(queries, block, min(k + 1, len(block) - 1), None)  # one more: it may be the item itself
        best += start - 1
        scores[best == asked[:, None]] = -np.inf
        near, cosines = np.concatenate([near, best], axis=1), np.concatenate([cosines, scores], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]  # ties keep the smaller row first
        near, cosines = np.take_along_axis(near, order, axis=1), np.take_along_axis(cosines, order, axis=1)
    return near[:, :len(rows) - 1], cosines[:, :len(rows) - 1]


def _normalised(rows: np.ndarray) -> np.ndarray:
    """Scale rows to the norm 1, float32 [n, D]; dividing by the largest entry first keeps squares in range."""
    scaled = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    normalised: np.ndarray = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    return normalised
