"""Batches of item histories: slices of one flat item array, left padded, without Python work per row.

Histories are CSR: user u has ``items[indptr[u]:indptr[u + 1]]``, oldest first, ids from 1; 0 is padding.

Training on next items follows SASRec (Kang and McAuley, ICDM 2018, arXiv 1808.09781, section III.F): the target
of an input is the item after it. Departure: SASRec cuts a long history to its last `max_len` items, here it is
cut into windows, so that every training item but a user's first is a target once per epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._batching import left_pad
from .checks import Int64Array, as_int64, as_offsets, check_length, check_range, whole_number

Items = NDArray[np.int32] | NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Training windows over a flat item array of N items; offsets are int64 [W], absolute.

    Window w has the targets ``items[first_target[w] : input_stop[w] + 1]``, each predicted from the items before.
    """

    row_start: Int64Array
    """Where the user's history begins."""
    input_stop: Int64Array
    """End of the inputs, exclusive; the item there is the last target."""
    first_target: Int64Array
    """Where the targets begin: earlier items belong to other windows."""

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.row_start)


def next_item_windows(indptr: ArrayLike, max_len: int, phases: ArrayLike) -> Windows:
    """Cut every history into windows, so that each item but a user's first is a target in exactly one.

    Args:
        indptr: int64 [U + 1], rows of the training histories; users of fewer than two items give no window.
        max_len: most targets in a window, and length of the batches made of them.
        phases: int64 [U], in 0..max_len - 1. With phase p a user's last window has ``max_len - p`` targets (fewer
            where the history has fewer) and the windows before it are full, save the first. A new random phase in
            every epoch lets each target be seen with other lengths of context.

    Returns:
        The windows, in the order of users and of time.
    """
    max_len = whole_number("max_len", max_len, 1)
    rows = as_int64("indptr", indptr)
    rows = as_offsets("indptr", rows, int(rows[-1]) if len(rows) else 0)
    shifts = as_int64("phases", phases)
    check_length("phases", shifts, len(rows) - 1, "user")
    check_range("phases", shifts, 0, max_len - 1)
    n_targets = np.maximum(np.diff(rows) - 1, 0)
    n_windows = np.where(n_targets > 0, -(-(n_targets + shifts) // max_len), 0)
    users = np.repeat(np.arange(len(n_windows)), n_windows)
    from_end = np.cumsum(n_windows)[users] - 1 - np.arange(len(users))  # 0 is a user's last window
    start, stop = rows[users], rows[users + 1]
    grid_stop = stop + shifts[users] - from_end * max_len
    return Windows(start, np.minimum(grid_stop, stop) - 1, np.maximum(grid_stop - max_len, start + 1))


def next_item_batch(items: Items, windows: Windows, select: ArrayLike, max_len: int,
                    num_threads: int = 1) -> tuple[Int64Array, Int64Array]:
    """Make the inputs and targets of some windows.

    A window's inputs are as many as fit of the items before its last target, also those that are targets of
    other windows: the context is always as long as possible.

    Args:
        items: int32 or int64 [N], all training histories.
        windows: of `next_item_windows` for these histories.
        select: int64 [B], which windows, in the order of the batch.
        max_len: length T of the batch.
        num_threads: threads of the kernel; the result does not depend on it.

    Returns:
        Inputs and targets, both int64 [B, T], left padded; 0 is padding, or the target of another window.
    """
    max_len = whole_number("max_len", max_len, 1)
    chosen = as_int64("select", select)
    check_range("select", chosen, 0, len(windows) - 1)
    stop = windows.input_stop[chosen]
    return (_left_padded(items, windows.row_start[chosen], stop, max_len, num_threads),
            _left_padded(items, windows.first_target[chosen], stop + 1, max_len, num_threads))


def history_batch(indptr: Int64Array, items: Items, users: ArrayLike, max_len: int,
                  num_threads: int = 1) -> Int64Array:
    """Return the last items of some users' histories.

    Args:
        indptr: int64 [U + 1], rows of the histories.
        items: int32 or int64 [N], all histories.
        users: int64 [B], which users, in the order of the batch.
        max_len: length T of the batch.
        num_threads: threads of the kernel; the result does not depend on it.

    Returns:
        int64 [B, T], left padded with 0; a user without items has zeros only.
    """
    max_len = whole_number("max_len", max_len, 1)
    rows, chosen = as_int64("indptr", indptr), as_int64("users", users)
    check_range("users", chosen, 0, len(rows) - 2)
    return _left_padded(items, rows[chosen], rows[chosen + 1], max_len, num_threads)


def _left_padded(items: Items, starts: Int64Array, stops: Int64Array, max_len: int, num_threads: int) -> Int64Array:
    if items.ndim != 1 or items.dtype not in (np.int32, np.int64):
        raise ValueError(f"items is {items.dtype} of shape {items.shape}; expected int32 or int64 [N]")
    check_range("start of a row", starts, 0, len(items))
    check_range("end of a row", stops, 0, len(items))
    if (stops < starts).any():
        raise ValueError("a row ends before it starts; make the offsets for these items again")
    out = np.empty((len(starts), max_len), dtype=np.int64)
    flat: Items = np.ascontiguousarray(items)  # type: ignore[assignment]
    left_pad(flat, starts, stops, out, whole_number("num_threads", num_threads, 1))
    return out
