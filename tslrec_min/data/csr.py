"""Arithmetic of rows of different lengths, stored one after the other in one array (CSR)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..runtime.validation import Int64Array


def offsets(lengths: np.ndarray | Sequence[int]) -> Int64Array:
    """Return where rows of these lengths, [U], begin and end, int64 [U+1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def owners(lengths: np.ndarray | Sequence[int]) -> Int64Array:
    """Return the row of every entry, int64 [N], given the lengths of the rows, [U]."""
    return np.repeat(np.arange(len(lengths)), lengths)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> Int64Array:
    """Return the positions of slices of an array, one slice after the other, int64 [N].

    Args:
        starts: int64 [U], where each slice begins.
        lengths: int64 [U].
    """
    ends = offsets(lengths)
    return np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])
