"""Batches of item histories: slices of one flat item array, padded by a kernel.

Histories are CSR: user u has ``items[indptr[u]:indptr[u + 1]]``, oldest first, ids from 1; 0 is padding.

Training on next items follows SASRec (Kang and McAuley, ICDM 2018, arXiv 1808.09781, section III.F): the target
of an input is the item after it. Departure: SASRec cuts a long history to its last `max_len` items, here it is
cut into windows, so that every training item but a user's first is a target once per epoch. Training on hidden
items (the Cloze task) follows BERT4Rec (Sun et al., CIKM 2019, arXiv 1904.06690, section 3.6).

A batch is as wide as its longest row; shorter rows are padded on the right, so that a causal model needs no mask.
Training batches are random; `length_parts` cuts each into parts of similar length, which hold little padding. (Whole
batches of similar length would change what is learned: the mean over a batch of short histories gives its few targets
more weight. On MovieLens-100K that cost a tenth of the validation NDCG@10.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..configs import RecommenderConfig
from ..data.csr import owners
from ..runtime.validation import Int64Array, as_int64, as_offsets, check_length, check_range, threads_for, whole_number
from ._batching import hide_items, pad_rows

Config = TypeVar("Config", bound=RecommenderConfig)
Items = NDArray[np.int32] | NDArray[np.int64]
_PART_ITEMS = 1024
"""Padding above which a batch is split: running the model once more costs about as much."""
_THREAD_ITEMS = 1 << 18
"""Minimum number of items per thread: about a tenth of a millisecond's work."""
_WORD = 2**32
_MAX_LENS = (50, 100, 200)
_LONGER_SHARE = 0.1
"""Share of the histories that may be longer than the `max_len` that is chosen."""


@dataclass(frozen=True)
class Windows:
    """Training windows over a flat item array; offsets are int64 [W], into that array.

    Window w has the targets ``items[first_target[w] : input_stop[w] + 1]``, each predicted from the items before.
    """

    users: Int64Array
    """The user of each window."""
    row_start: Int64Array
    """Where the user's history begins."""
    input_stop: Int64Array
    """End of the inputs, exclusive: the place of the last target."""
    first_target: Int64Array
    """The place of the first target; earlier targets belong to other windows."""

    def __post_init__(self) -> None:
        """Convert the arrays to int64 and check that their lengths agree."""
        for field in ("users", "row_start", "input_stop", "first_target"):
            values = as_int64(field, getattr(self, field))
            check_length(field, values, len(self.row_start), "window")
            object.__setattr__(self, field, values)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.row_start)


@dataclass(frozen=True)
class Batch:
    """Padded histories, one per row."""

    items: Int64Array
    """int64 [B, T], 0 = padding."""
    lengths: Int64Array
    """int64 [B], items in each row."""
    targets: Int64Array
    """int64 [B, T], 0 = no target; [B, 0] if no targets were requested."""


def fitting_max_len(lengths: ArrayLike) -> int:
    """Return the `max_len` that ``--max-len 0`` stands for: the first of 50, 100 and 200 that holds nine in ten.

    Args:
        lengths: int [U], of the training histories.
    """
    return next((size for size in _MAX_LENS if np.mean(np.asarray(lengths) > size) <= _LONGER_SHARE), _MAX_LENS[-1])


def with_max_len(config: Config, lengths: ArrayLike) -> Config:
    """Return the configuration with a `max_len` that fits the histories, if its own is 0; see `fitting_max_len`.

    Args:
        config: of a recommender.
        lengths: int [U], of the training histories.
    """
    return config if config.max_len else replace(config, max_len=fitting_max_len(lengths))


def window_phases(indptr: ArrayLike, max_len: int, random: np.random.Generator) -> Int64Array:
    """Draw where to cut each history, int64 [U], so that it gives as few windows as possible.

    ceil(n / max_len) windows have room for more than the n targets of a history; the phase shifts the cuts by a random
    part of that room. So a long history is cut at other places in every epoch.
    """
    n_targets = np.maximum(np.diff(as_int64("indptr", indptr)) - 1, 0)
    return random.integers(0, -n_targets % whole_number("max_len", max_len, 1) + 1)


def next_item_windows(indptr: ArrayLike, max_len: int, phases: ArrayLike) -> Windows:
    """Cut every history into windows, so that each item but a user's first is a target in exactly one.

    Args:
        indptr: int64 [U + 1], rows of the training histories; users of fewer than two items give no window.
        max_len: maximum number of targets in a window, and maximum width of the batches.
        phases: int64 [U], in 0..max_len - 1. With phase p a user's last window has ``max_len - p`` targets, the first
            one the rest, and all between them `max_len`.

    Returns:
        The windows, ordered by user and time.
    """
    max_len = whole_number("max_len", max_len, 1)
    rows = as_int64("indptr", indptr)
    rows = as_offsets("indptr", rows, int(rows[-1]) if len(rows) else 0)
    shifts = as_int64("phases", phases)
    check_length("phases", shifts, len(rows) - 1, "user")
    check_range("phases", shifts, 0, max_len - 1)
    n_targets = np.maximum(np.diff(rows) - 1, 0)
    n_windows = np.where(n_targets > 0, -(-(n_targets + shifts) // max_len), 0)
    users = owners(n_windows)
    from_end = np.cumsum(n_windows)[users] - 1 - np.arange(len(users))  # 0 is a user's last window
    start, stop = rows[users], rows[users + 1]
    grid_stop = stop + shifts[users] - from_end * max_len
    return Windows(users, start, np.minimum(grid_stop, stop) - 1, np.maximum(grid_stop - max_len, start + 1))


def length_parts(lengths: ArrayLike) -> list[Int64Array]:
    """Cut a batch into parts of similar length, the longest first.

    Args:
        lengths: int64 [B], at least 0.

    Returns:
        The rows of each part, int64. A new part begins where the remaining rows would otherwise hold more than 1024
        items of padding.
    """
    sizes = as_int64("lengths", lengths)
    order = np.argsort(-sizes, kind="stable")
    falling, starts = sizes[order], [0]
    for row in range(1, len(order)):
        if (falling[starts[-1]] - falling[row]) * (len(order) - row) > _PART_ITEMS:
            starts.append(row)
    return np.split(order, starts[1:]) if len(order) else []


def next_item_batch(items: Items, windows: Windows, select: ArrayLike, max_len: int, *, num_threads: int = 1) -> Batch:
    """Make the inputs and targets of some windows.

    The inputs of a window are the last `max_len` items before its last target. They may include targets of other
    windows, so that the context is always as long as possible.

    Args:
        items: int32 or int64 [N], all training histories.
        windows: of `next_item_windows` for these histories.
        select: int64 [B], the windows, in the order of the batch.
        max_len: maximum width of the batch.
        num_threads: threads of the kernel; the result does not depend on it.

    Returns:
        The batch; a target of 0 is padding, or belongs to another window.
    """
    chosen = as_int64("select", select)
    check_range("select", chosen, 0, len(windows) - 1)
    start, stop, first = windows.row_start[chosen], windows.input_stop[chosen], windows.first_target[chosen]
    check_range("end of a row", stop, 0, len(items) - 1)
    if (first > stop).any():
        raise ValueError("the targets of a window begin after its last one; make the windows again")
    batch = _padded(items, start, stop, max_len, num_threads)
    # A target stands where the item before it does; the first ones may belong to another window.
    context = stop + 1 - batch.lengths
    _pad(items, context, batch.lengths, np.maximum(first, context) - context, batch.targets, num_threads)
    return batch


def cloze_batch(items: Items, windows: Windows, select: ArrayLike, max_len: int, *, mask: int, probability: float,
                last_probability: float, seed: int, epoch: int, num_threads: int = 1) -> Batch:
    """Make inputs in which random items are hidden, and the hidden items as targets.

    Args:
        items, windows, select, max_len, num_threads: see `next_item_batch`; here a window includes its last target.
        mask: the id that stands for a hidden item.
        probability: of hiding an item, independently; where no item is drawn, one at random is hidden.
        last_probability: of hiding only the last item of a row instead, as when recommending.
        seed: in 0..2**64 - 1; the hidden items follow from it, `epoch` and the window's place.
        epoch: in 0..2**64 - 1.

    Returns:
        The batch.
    """
    chosen = as_int64("select", select)
    check_range("select", chosen, 0, len(windows) - 1)
    for name, value in (("probability", probability), ("last_probability", last_probability)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; expected 0..1")
    stop = windows.input_stop[chosen] + 1
    check_range("end of a row", stop, 0, len(items))
    batch = _padded(items, windows.row_start[chosen], stop, max_len, num_threads)
    hide_items(batch.items, batch.targets, batch.lengths, stop, whole_number("mask", mask, 1),
               whole_number("seed", seed, 0, 2**64 - 1), whole_number("epoch", epoch, 0, 2**64 - 1),
               round(probability * _WORD), round(last_probability * _WORD),
               threads_for(batch.items.size, num_threads, _THREAD_ITEMS))
    return batch


def history_batch(indptr: Int64Array, items: Items, users: ArrayLike, max_len: int, *, num_threads: int = 1) -> Batch:
    """Return the last items of some users' histories.

    Args:
        indptr: int64 [U + 1], rows of the histories.
        items: int32 or int64 [N], all histories.
        users: int64 [B], in the order of the batch.
        max_len, num_threads: see `next_item_batch`.

    Returns:
        The batch, without targets; a user without items has a row of padding.
    """
    rows, chosen = as_int64("indptr", indptr), as_int64("users", users)
    check_range("users", chosen, 0, len(rows) - 2)
    return _padded(items, rows[chosen], rows[chosen + 1], max_len, num_threads, with_targets=False)


def _padded(items: Items, starts: Int64Array, stops: Int64Array, max_len: int, num_threads: int, *,
            with_targets: bool = True) -> Batch:
    """Return the last `max_len` items of every slice; the targets are not filled in."""
    if items.ndim != 1 or items.dtype not in (np.int32, np.int64):
        raise ValueError(f"items is {items.dtype} of shape {items.shape}; expected int32 or int64 [N]")
    check_range("start of a row", starts, 0, len(items))
    check_range("end of a row", stops, 0, len(items))
    if (stops < starts).any():
        raise ValueError("a row ends before it starts; make the offsets for these items again")
    lengths = np.minimum(stops - starts, whole_number("max_len", max_len, 1))
    out = np.empty((len(lengths), int(lengths.max(initial=1))), np.int64)
    _pad(items, stops - lengths, lengths, np.zeros_like(lengths), out, num_threads)
    return Batch(out, lengths, np.empty_like(out if with_targets else out[:, :0]))


def _pad(items: Items, starts: Int64Array, lengths: Int64Array, skipped: Int64Array, out: Int64Array,
         num_threads: int) -> None:
    flat: Items = np.ascontiguousarray(items)  # type: ignore[assignment]
    pad_rows(flat, starts, lengths, skipped, out, threads_for(out.size, num_threads, _THREAD_ITEMS))
