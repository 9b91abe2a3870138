"""Ranks of the users' targets among all items, by counting instead of sorting, and the best items of each user.

The kernel multiplies a few users and a few items at a time, and looks at these scores while they are in the cache:
they are never stored whole, so memory does not grow with users x items. Blocks, packing and the tile in registers are
those of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.seen import SeenItems
from ..runtime.validation import Int64Array, as_int64, check_length, check_range, thread_count, whole_number
from ._ranking import count_targets, find_best, instruction_sets

_ISA = len(instruction_sets()) - 1
"""The kernel's instruction set, an index of instruction_sets(): the fastest that this CPU has."""


@dataclass(frozen=True)
class Ranks:
    """Where each target stands; all int64 [B]. Every metric follows from `greater` and `equal`."""

    greater: Int64Array
    """Candidates whose score is above the target's."""
    equal: Int64Array
    """Candidates whose score is the target's, itself aside."""
    n_candidates: Int64Array
    """Items that were ranked, the target among them."""


def rank_targets(states: NDArray[Any], item_table: NDArray[Any], targets: ArrayLike, seen: SeenItems | None, *,
                 users: ArrayLike | None = None, num_threads: int = 1) -> Ranks:
    """Rank each target among all items that its user hasn't seen.

    Candidates are the items 1..I without the user's seen ones, and always the target, seen or not; the padding
    row never is. *Ties*: kept as such. A target with `greater` candidates above and `equal` beside it stands at
    each of the places greater + 1 .. greater + equal + 1 with the same probability, and metrics are expectations
    over that. Equal means equal in the bits; a score depends on its two vectors alone, so items of equal vectors are
    tied. *Not finite*: if any score of a row is NaN or infinite, also that of a seen item, the ranks mean nothing,
    and ValueError names the first such row.

    Args:
        states: float32 or float64 [B, d], one per user; copied if not contiguous, as is the table.
        item_table: of the same dtype [I + 1, d]; row 0 is padding.
        targets: int64 [B], ids in 1..I.
        seen: what to leave out, or None for nothing.
        users: int64 [B], the row of `seen` of each state; by default 0..B - 1.
        num_threads: threads of the kernel; the result does not depend on it.

    Raises:
        ValueError: an argument doesn't fit the others, or a score isn't finite.
    """
    states, item_table = _factors(states, item_table)
    wanted = as_int64("targets", targets)
    check_length("targets", wanted, len(states), "row")
    check_range("targets", wanted, 1, len(item_table) - 1)
    chosen, rows, seen = _checked_seen(seen, users, len(states), len(item_table) - 1)
    threads = thread_count(num_threads)
    greater, equal, n_candidates, not_finite = np.zeros((4, len(states)), dtype=np.int64)
    if len(states):
        target_scores = np.empty(len(states), dtype=states.dtype)
        count_targets(states, item_table, wanted, rows, seen.indptr, seen.items, target_scores, greater, equal,
                      n_candidates, not_finite, _ISA, threads)
    _check_finite(not_finite, chosen)
    return Ranks(greater, equal, n_candidates)


def top_k(states: NDArray[Any], item_table: NDArray[Any], k: int, seen: SeenItems | None, *,
          users: ArrayLike | None = None, num_threads: int = 1) -> tuple[Int64Array, NDArray[Any]]:
    """Find the k items of the highest scores that each user hasn't seen; ties go to the smaller id.

    Scores are those of `rank_targets`, and so are the arguments beside k. A user's best are kept sorted by
    insertion: k is meant to be up to some hundreds. Threads share the users, so one user is served by one thread.

    Args:
        states: float32 or float64 [B, d], one per user.
        item_table: of the same dtype [I + 1, d]; row 0 is padding.
        k: at least 1.
        seen: what to leave out, or None for nothing.
        users: int64 [B], the row of `seen` of each state; by default 0..B - 1.
        num_threads: threads of the kernel; the result does not depend on it.

    Returns:
        items int64 [B, k], the best first, and their scores [B, k] of the states' dtype. Where a user has fewer than
        k unseen items, the rest is item 0 with score -infinity.

    Raises:
        ValueError: an argument doesn't fit the others, or a score isn't finite, also that of a seen item.
    """
    states, item_table = _factors(states, item_table)
    chosen, rows, seen = _checked_seen(seen, users, len(states), len(item_table) - 1)
    threads = thread_count(num_threads)
    items = np.zeros((len(states), whole_number("k", k, 1)), dtype=np.int64)
    scores, not_finite = np.full(items.shape, -np.inf, dtype=states.dtype), np.zeros(len(states), dtype=np.int64)
    if len(states):
        find_best(states, item_table, rows, seen.indptr, seen.items, items, scores, not_finite, _ISA, threads)
    _check_finite(not_finite, chosen)
    return items, scores


def _matrix(name: str, values: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(values)
    if np.ndim(values) != 2 or array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} is {array.dtype} of shape {np.shape(values)}; expected float32 or float64 of two "
                         "dimensions")
    return array


def _factors(states: NDArray[Any], item_table: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check states and item table, also against each other."""
    states, item_table = _matrix("states", states), _matrix("item_table", item_table)
    if states.dtype != item_table.dtype or states.shape[1] != item_table.shape[1]:
        raise ValueError(f"states are {states.dtype} {states.shape}, item_table is {item_table.dtype} "
                         f"{item_table.shape}; expected the same dtype and number of columns")
    if len(item_table) < 2:
        raise ValueError("item_table has no item beside the padding; expected at least one")
    return states, item_table


def _checked_seen(seen: SeenItems | None, users: ArrayLike | None, n_rows: int,
                  n_items: int) -> tuple[Int64Array, Int64Array, SeenItems]:
    """Return the users by name, int64 [B], their rows of the third, int64 [B], and what they have seen."""
    chosen = np.arange(n_rows, dtype=np.int64) if users is None else as_int64("users", users)
    check_length("users", chosen, n_rows, "row")
    if seen is None:
        nothing = SeenItems(np.zeros(2, dtype=np.int64), np.empty(0, dtype=np.int32), n_items)
        return chosen, np.zeros(n_rows, dtype=np.int64), nothing
    if seen.n_items != n_items:
        raise ValueError(f"seen is of {seen.n_items} items, the scores are of {n_items}; "
                         "make both from the same data set")
    check_range("users", chosen, 0, len(seen.indptr) - 2)
    return chosen, chosen, seen


def _check_finite(not_finite: Int64Array, users: Int64Array) -> None:
    """Raise ValueError at the first row with scores that are NaN or infinite; int64 [B] how many."""
    if not_finite.any():
        row = int(np.argmax(not_finite > 0))
        raise ValueError(f"row {row} (user {users[row]}) has {not_finite[row]} scores that are NaN or infinite; "
                         "expected finite ones: look at the model's training loss and its item table")
