"""Ranks of the users' targets among all items, by counting instead of sorting, and the best items of each user.

A score is a product of two vectors, plus a bias of the item and an entry of a sparse matrix where there are such parts.
The kernel multiplies a few users and a few items at a time and reads these scores while they are in the cache, so
memory does not grow with users x items. Blocks, packing and the register tile are those of Goto and van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.seen import SeenItems
from ..runtime.validation import Int64Array, as_int64, check_length, check_range, thread_count, whole_number
from ._ranking import count_targets, find_best, instruction_sets
from .sparse_rows import SparseRows

_ISA = len(instruction_sets()) - 1
"""Index into instruction_sets(): the fastest one that this CPU has."""


@dataclass(frozen=True)
class Ranks:
    """The rank of each target; all int64 [B]. Every metric follows from `greater` and `equal`."""

    greater: Int64Array
    """Candidates whose score is above the target's."""
    equal: Int64Array
    """Other candidates with the target's score."""
    n_candidates: Int64Array
    """Items that were ranked, the target included."""


def rank_targets(states: NDArray[Any], item_table: NDArray[Any], targets: ArrayLike, seen: SeenItems | None, *,
                 bias: NDArray[Any] | None = None, sparse: SparseRows | None = None, users: ArrayLike | None = None,
                 num_threads: int = 1) -> Ranks:
    """Rank each target among all items that its user hasn't seen.

    Candidates are the items 1..I without the user's seen ones, and always the target, seen or not. The score of row b
    and item i is ``states[b] @ item_table[i]``, then plus ``bias[i]``, then plus the sparse entry. *Ties* are counted,
    not broken: `metrics` averages over them. Equal means equal as numbers; a score depends only on these parts, so
    items whose parts are equal are tied, and an entry of 0 is as good as none. *Not finite*: if any score of a user is
    NaN or infinite, also that of a seen item, the ranks are meaningless, and ValueError names the first such row.

    Args:
        states: float32 or float64 [B, d], one per user; copied if not contiguous, as is the table.
        item_table: of the same dtype [I + 1, d]; row 0 is padding.
        targets: int64 [B], ids in 1..I.
        seen: items to leave out; None: none.
        bias: of the states' dtype [I + 1], entry 0 is padding; None: 0 for every item.
        sparse: B rows of the states' dtype, one for each state, whose items are in 1..I; None: 0 everywhere.
        users: int64 [B], each state's row of `seen`; by default 0..B - 1.
        num_threads: threads of the kernel; the result does not depend on it.

    Raises:
        ValueError: an argument doesn't fit the others, or a score isn't finite.
    """
    states, item_table = _factors(states, item_table)
    added = _checked_bias(bias, item_table), *_checked_sparse(sparse, states, len(item_table) - 1)
    wanted = as_int64("targets", targets)
    check_length("targets", wanted, len(states), "row")
    check_range("targets", wanted, 1, len(item_table) - 1)
    chosen, rows, seen = _checked_seen(seen, users, len(states), len(item_table) - 1)
    threads = thread_count(num_threads)
    greater, equal, n_candidates, not_finite = np.zeros((4, len(states)), dtype=np.int64)
    if len(states):
        target_scores = np.empty(len(states), dtype=states.dtype)
        count_targets(states, item_table, *added, wanted, rows, seen.indptr, seen.items, target_scores, greater, equal,
                      n_candidates, not_finite, _ISA, threads)
    _check_finite(not_finite, chosen)
    return Ranks(greater, equal, n_candidates)


def top_k(states: NDArray[Any], item_table: NDArray[Any], k: int, seen: SeenItems | None, *,
          bias: NDArray[Any] | None = None, sparse: SparseRows | None = None, users: ArrayLike | None = None,
          num_threads: int = 1) -> tuple[Int64Array, NDArray[Any]]:
    """Find the k items with the highest scores that each user hasn't seen; ties go to the smaller id.

    Scores and arguments are as for `rank_targets`; k is at least 1. A user's best items are kept sorted by insertion,
    which is fast for k up to a few hundred.

    Returns:
        items int64 [B, k], the best first, and their scores [B, k] of the states' dtype. If a user has fewer than k
        unseen items, the rest is item 0 with score -infinity.

    Raises:
        ValueError: an argument doesn't fit the others, or a score isn't finite, also that of a seen item.
    """
    states, item_table = _factors(states, item_table)
    added = _checked_bias(bias, item_table), *_checked_sparse(sparse, states, len(item_table) - 1)
    chosen, rows, seen = _checked_seen(seen, users, len(states), len(item_table) - 1)
    threads = thread_count(num_threads)
    items = np.zeros((len(states), whole_number("k", k, 1)), dtype=np.int64)
    scores, not_finite = np.full(items.shape, -np.inf, dtype=states.dtype), np.zeros(len(states), dtype=np.int64)
    if len(states):
        find_best(states, item_table, *added, rows, seen.indptr, seen.items, items, scores, not_finite, _ISA, threads)
    _check_finite(not_finite, chosen)
    return items, scores


def _factors(states: NDArray[Any], item_table: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return states and item table as contiguous arrays that fit each other."""
    for name, values in (("states", states), ("item_table", item_table)):
        if values.ndim != 2 or values.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} is {values.dtype} of shape {values.shape}; expected float32 or float64 of two "
                             "dimensions")
    if states.dtype != item_table.dtype or states.shape[1] != item_table.shape[1]:
        raise ValueError(f"states are {states.dtype} {states.shape}, item_table is {item_table.dtype} "
                         f"{item_table.shape}; expected the same dtype and number of columns")
    if len(item_table) < 2:
        raise ValueError("item_table has only the padding row; expected at least one item")
    return np.ascontiguousarray(states), np.ascontiguousarray(item_table)


def _checked_bias(bias: NDArray[Any] | None, item_table: NDArray[Any]) -> NDArray[Any]:
    """Return the bias, contiguous; it is empty if None was given."""
    if bias is None:
        return np.empty(0, dtype=item_table.dtype)
    if bias.dtype != item_table.dtype or bias.shape != (len(item_table),):
        raise ValueError(f"bias is {bias.dtype} of shape {bias.shape}, item_table is {item_table.dtype} "
                         f"{item_table.shape}; expected the same dtype and one number for each row of the table")
    contiguous: NDArray[Any] = np.ascontiguousarray(bias)
    return contiguous


def _checked_sparse(sparse: SparseRows | None, states: NDArray[Any],
                    n_items: int) -> tuple[Int64Array, NDArray[np.int32], NDArray[Any]]:
    """Return offsets, items and values of the sparse rows; they are empty if None was given."""
    if sparse is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32), np.empty(0, dtype=states.dtype)
    if sparse.values.dtype != states.dtype or len(sparse) != len(states):
        raise ValueError(f"sparse is {sparse.values.dtype} with {len(sparse)} rows, states are {states.dtype} "
                         f"{states.shape}; expected the same dtype and number of rows")
    if (sparse.last_items > n_items).any():
        check_range("sparse.items", sparse.items, 1, n_items)
    return sparse.indptr, sparse.items, sparse.values


def _checked_seen(seen: SeenItems | None, users: ArrayLike | None, n_rows: int,
                  n_items: int) -> tuple[Int64Array, Int64Array, SeenItems]:
    """Return the users, int64 [B], their rows of `seen`, int64 [B], and `seen`, which is empty if None was given."""
    chosen = np.arange(n_rows, dtype=np.int64) if users is None else as_int64("users", users)
    check_length("users", chosen, n_rows, "row")
    if seen is None:
        nothing = SeenItems(np.zeros(2, dtype=np.int64), np.empty(0, dtype=np.int32), n_items)
        return chosen, np.zeros(n_rows, dtype=np.int64), nothing
    if seen.n_items != n_items:
        raise ValueError(f"seen has {seen.n_items} items, item_table has {n_items}; make both from the same data set")
    check_range("users", chosen, 0, len(seen.indptr) - 2)
    return chosen, chosen, seen


def _check_finite(not_finite: Int64Array, users: Int64Array) -> None:
    """Raise ValueError for the first row with scores that aren't finite, given their numbers, int64 [B]."""
    if not_finite.any():
        row = int(np.argmax(not_finite > 0))
        raise ValueError(f"row {row} (user {users[row]}) has {not_finite[row]} scores that are NaN or infinite; "
                         "expected finite ones: check the model's training loss and its item table")
