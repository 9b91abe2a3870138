"""Checks of the arguments that the compiled kernels can't check themselves: they index without bounds."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64Array = NDArray[np.int64]


def as_int64(name: str, values: ArrayLike) -> Int64Array:
    """Return `values`, one-dimensional integers, as contiguous int64; they are copied only if necessary."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; expected integers of one dimension")
    if array.dtype == np.uint64:
        check_range(name, array, 0, np.iinfo(np.int64).max)
    return np.ascontiguousarray(array, dtype=np.int64)


def as_offsets(name: str, values: ArrayLike, total: int) -> Int64Array:
    """Return CSR offsets, int64 [U + 1], that rise from 0 to `total`."""
    offsets = as_int64(name, values)
    # Neighbours are compared, as differences could overflow.
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"{name} must rise from 0 to {total}, the number of items in all rows; got {offsets}")
    return offsets


def check_range(name: str, values: NDArray[Any], low: int, high: int) -> None:
    """Raise ValueError unless all values are in low..high."""
    if values.size and (values.min() < low or values.max() > high):
        index = int(np.argmax((values < low) | (values > high)))
        raise ValueError(f"{name}[{index}] is {values[index]}; expected {low}..{high}")


def check_length(name: str, values: NDArray[Any], expected: int, of_what: str) -> None:
    """Raise ValueError unless `values` has the expected length."""
    if len(values) != expected:
        raise ValueError(f"{name} has {len(values)} entries; expected {expected}, one for each {of_what}")


def whole_number(name: str, value: int, low: int, high: int = 2**31 - 1) -> int:
    """Return `value` as an int in low..high."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; expected a whole number") from None
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}; expected {low}..{high}")
    return number


def thread_count(num_threads: int) -> int:
    """Return `num_threads`, checked to be in 1..1024: OpenMP aborts the process if it can't create that many."""
    return whole_number("num_threads", num_threads, 1, 1024)


def threads_for(work: int, num_threads: int, work_per_thread: int) -> int:
    """Return the number of threads, from 1 to `num_threads`, that leaves each at least `work_per_thread`.

    Waking a thread takes longer than a small task, on a busy machine a thousand times longer.
    """
    return min(thread_count(num_threads), max(1, work // work_per_thread))
