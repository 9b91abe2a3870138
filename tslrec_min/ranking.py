"""Ranks of the users' targets among all items, by counting instead of sorting.

BLAS writes the scores of some users into a tile that is small enough to stay in the cache; the kernel counts while it
is there, and the next users overwrite it. So memory does not grow with users x items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._ranking import count_scores
from .checks import Int64Array, as_int64, check_length, check_range, whole_number
from .sampling import SeenItems

TILE_BYTES = 8 << 20
"""Of the order of a last-level cache; smaller tiles make BLAS slower, larger ones leave the cache."""
_TABLE_MULTIPLE = 64
"""BLAS computes the columns beyond a multiple of its block (up to 16) by another kernel, which rounds otherwise:
with fewer rows, items of equal vectors would not be tied."""


@dataclass(frozen=True)
class Ranks:
    """Where each target stands; all int64 [B]. Every metric follows from `greater` and `equal`."""

    greater: Int64Array
    """Candidates whose score is above the target's."""
    equal: Int64Array
    """Candidates whose score is the target's, itself aside."""
    n_candidates: Int64Array
    """Items that were ranked, the target among them."""


@dataclass(frozen=True)
class _Queries:
    """Checked arguments: row b ranks targets[b] among what row seen_rows[b] of `seen` does not hold."""

    targets: Int64Array
    users: Int64Array
    seen_rows: Int64Array
    seen: SeenItems

    @classmethod
    def check(cls, targets: ArrayLike, seen: SeenItems | None, users: ArrayLike | None, n_rows: int,
              n_items: int) -> _Queries:
        wanted = as_int64("targets", targets)
        check_length("targets", wanted, n_rows, "row")
        check_range("targets", wanted, 1, n_items)
        chosen = np.arange(n_rows, dtype=np.int64) if users is None else as_int64("users", users)
        check_length("users", chosen, n_rows, "row")
        if seen is None:
            nothing = SeenItems(np.zeros(2, dtype=np.int64), np.empty(0, dtype=np.int32), n_items)
            return cls(wanted, chosen, np.zeros(n_rows, dtype=np.int64), nothing)
        if seen.n_items != n_items:
            raise ValueError(f"seen is of {seen.n_items} items, the scores are of {n_items}; "
                             "make both from the same data set")
        check_range("users", chosen, 0, len(seen.indptr) - 2)
        return cls(wanted, chosen, chosen, seen)


def rank_targets(states: NDArray[Any], item_table: NDArray[Any], targets: ArrayLike, seen: SeenItems | None, *,
                 users: ArrayLike | None = None, num_threads: int = 1, tile_bytes: int = TILE_BYTES) -> Ranks:
    """Rank each target among all items that its user hasn't seen.

    Candidates are the items 1..I without the user's seen ones, and always the target, seen or not; the padding
    row never is. *Ties*: kept as such. A target with `greater` candidates above and `equal` beside it stands at
    each of the places greater + 1 .. greater + equal + 1 with the same probability, and metrics are expectations
    over that. Equal means equal in the bits; items of equal vectors are tied. *Not finite*: if any score of a row
    is NaN or infinite, also that of a seen item, the ranks mean nothing, and ValueError names the first such row.

    Args:
        states: float32 or float64 [B, d], one per user.
        item_table: of the same dtype [I + 1, d]; row 0 is padding.
        targets: int64 [B], ids in 1..I.
        seen: what to leave out, or None for nothing.
        users: int64 [B], the row of `seen` of each state; by default 0..B - 1.
        num_threads: threads of the counting; the result does not depend on it. BLAS has its own setting.
        tile_bytes: most memory for scores; at least one user's.

    Raises:
        ValueError: an argument doesn't fit the others, or a score isn't finite.
    """
    states, item_table = _matrix("states", states), _matrix("item_table", item_table)
    if states.dtype != item_table.dtype or states.shape[1] != item_table.shape[1]:
        raise ValueError(f"states are {states.dtype} {states.shape}, item_table is {item_table.dtype} "
                         f"{item_table.shape}; expected the same dtype and number of columns")
    queries = _Queries.check(targets, seen, users, len(states), _n_items("item_table", len(item_table)))
    ranks = _empty_ranks(len(states))
    table = _whole_blocks(item_table)
    fitting = whole_number("tile_bytes", tile_bytes, 1, 2**62) // (len(table) * table.itemsize)
    tile_rows = max(1, min(len(states), fitting))
    tile = np.empty((tile_rows, len(table)), dtype=states.dtype)
    with np.errstate(all="ignore"):  # not finite scores are found by the count
        for start in range(0, len(states), tile_rows):
            rows = slice(start, min(start + tile_rows, len(states)))
            scores = np.matmul(states[rows], table.T, out=tile[: rows.stop - start])
            _count(scores, rows, queries, ranks, num_threads)
    return ranks


def rank_scores(scores: NDArray[Any], targets: ArrayLike, seen: SeenItems | None = None, *,
                users: ArrayLike | None = None, num_threads: int = 1) -> Ranks:
    """Rank each target by given scores, float32 or float64 [B, I + 1], of which column 0 is padding.

    All else is as in `rank_targets`.
    """
    scores = _matrix("scores", scores)
    queries = _Queries.check(targets, seen, users, len(scores), _n_items("scores", scores.shape[1]))
    ranks = _empty_ranks(len(scores))
    _count(scores, slice(0, len(scores)), queries, ranks, num_threads)
    return ranks


def _matrix(name: str, values: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(values)
    if np.ndim(values) != 2 or array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} is {array.dtype} of shape {np.shape(values)}; expected float32 or float64 of two "
                         "dimensions")
    return array


def _whole_blocks(item_table: NDArray[Any]) -> NDArray[Any]:
    """Return a copy with zero rows below, up to a multiple of rows; the table itself if it has one."""
    missing = -len(item_table) % _TABLE_MULTIPLE
    return np.pad(item_table, ((0, missing), (0, 0))) if missing else item_table


def _n_items(name: str, width: int) -> int:
    if width < 2:
        raise ValueError(f"{name} has no item beside the padding; expected at least one")
    return width - 1


def _empty_ranks(n_rows: int) -> Ranks:
    return Ranks(*(np.empty(n_rows, dtype=np.int64) for _ in range(3)))


def _count(scores: NDArray[Any], rows: slice, queries: _Queries, ranks: Ranks, num_threads: int) -> None:
    """Fill some rows of `ranks` from their scores."""
    not_finite = np.empty(len(scores), dtype=np.int64)
    seen = queries.seen
    count_scores(scores, seen.n_items, queries.targets[rows], queries.seen_rows[rows], seen.indptr, seen.items,
                 ranks.greater[rows], ranks.equal[rows], ranks.n_candidates[rows], not_finite,
                 whole_number("num_threads", num_threads, 1))
    if not_finite.any():
        row = int(np.argmax(not_finite > 0))
        raise ValueError(f"row {rows.start + row} (user {queries.users[rows][row]}) has {not_finite[row]} scores "
                         "that are NaN or infinite; expected finite ones: look at the model's training loss and "
                         "its item table")
