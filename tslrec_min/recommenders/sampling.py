"""Random negatives among the items that a user hasn't seen: uniform, or by popularity.

A draw is a pure function of (seed, epoch, position, column): it does not depend on the number of threads, the batch
size or the order of the batch. For the generator see csrc/_random.pxd. Popularity to a power as in word2vec (Mikolov
et al., NeurIPS 2013, arXiv 1310.4546: 0.75), drawn in constant time by an alias table (Walker, ACM TOMS 3(3), 1977;
built as in Vose, IEEE TSE 17(9), 1991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.csr import owners
from ..data.seen import MOST_ITEMS, SeenItems
from ..runtime.validation import Int64Array, as_int64, check_length, check_range, thread_count, whole_number
from ._sampling import draw_unseen

_LARGEST_WORD = 2**64 - 1
_ATTEMPTS = 16
"""Candidates before an exact draw from the unseen items; for a uniform one that takes about as long."""
_ITEMS_PER_ATTEMPT = 4
"""A weighted exact draw walks over the catalogue: one attempt more for every 4 items takes about as long."""


@dataclass(frozen=True, eq=False)
class AliasTable:
    """A distribution over the items 1..I, sampled in constant time. Make it with `from_counts` or `uniform`."""

    probabilities: NDArray[np.float64]
    """float64 [I + 1], entry 0 is padding and 0."""
    thresholds: NDArray[np.uint64]
    """uint64 [I]: column j, from 0, gives item j + 1 with probability ``thresholds[j] / 2**64``, else its alias."""
    aliases: NDArray[np.int32]
    """int32 [I], the other item of each column; the item itself if its column holds no other."""

    def __post_init__(self) -> None:
        """Check what the kernel relies on."""
        for name, dtype in (("probabilities", np.float64), ("thresholds", np.uint64), ("aliases", np.int32)):
            values = np.asarray(getattr(self, name))
            if values.dtype != dtype or values.ndim != 1:
                raise ValueError(f"{name} is {values.dtype} of shape {values.shape}; expected {np.dtype(dtype)} of one "
                                 "dimension; use AliasTable.from_counts")
            object.__setattr__(self, name, np.ascontiguousarray(values))
        check_length("thresholds", self.thresholds, self.n_items, "item")
        check_length("probabilities", self.probabilities, self.n_items + 1, "item and the padding")
        check_range("aliases", self.aliases, 1, self.n_items)

    @classmethod
    def from_counts(cls, counts: ArrayLike, alpha: float) -> AliasTable:
        """Make item i's probability proportional to ``counts[i] ** alpha``.

        Args:
            counts: [I + 1], at least 0, such as ``np.bincount(items, minlength=I + 1)`` of the training items; entry 0
                is padding and ignored. With alpha > 0 an item of count 0 is never drawn.
            alpha: power, at least 0; 0 is uniform over all items, also those of count 0.

        Raises:
            ValueError: a count or alpha is negative or not finite, or every count is 0.
        """
        values = np.array(counts, dtype=np.float64)
        if values.ndim != 1 or not 2 <= len(values) <= MOST_ITEMS + 1:
            raise ValueError(f"counts has shape {values.shape}; expected one number for the padding and one for each "
                             "item")
        values[0] = 0
        if not np.isfinite(values).all() or values.min() < 0:
            item = int(np.argmax(~(np.isfinite(values) & (values >= 0))))
            raise ValueError(f"counts[{item}] is {values[item]}; expected a finite number, at least 0")
        if not (np.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"alpha is {alpha}; expected a finite number, at least 0")
        if values.max() == 0 and alpha > 0:
            raise ValueError("every count is 0, so no item can be drawn; count the items of the training histories")
        weights = (values / max(values.max(), 1e-300)) ** alpha
        weights[0] = 0
        probabilities = weights / weights.sum()
        return cls(probabilities, *_alias_columns(probabilities[1:]))

    @classmethod
    def uniform(cls, n_items: int) -> AliasTable:
        """Give the items 1..n_items the same probability."""
        return cls.from_counts(np.ones(whole_number("n_items", n_items, 1, MOST_ITEMS) + 1), 0)

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return len(self.aliases)

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """Natural logarithms, float64 [I + 1]: -inf for the padding and for items that are never drawn."""
        with np.errstate(divide="ignore"):
            return np.log(self.probabilities)

    def unseen_probability(self, seen: SeenItems) -> NDArray[np.float64]:
        """Return each user's probability that an item drawn from the whole catalogue is unseen, float64 [U]."""
        _check_same_items(seen, self)
        sums = np.bincount(owners(np.diff(seen.indptr)), self.probabilities[seen.items], minlength=len(seen.indptr) - 1)
        return 1 - sums.astype(np.float64)


def _alias_columns(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Spread the probabilities, float64 [I], over I columns of equal weight, each with at most two items."""
    heights = (probabilities * len(probabilities)).tolist()
    thresholds, aliases = [0] * len(heights), list(range(1, len(heights) + 1))
    low = [column for column, height in enumerate(heights) if height < 1]
    high = [column for column, height in enumerate(heights) if height >= 1]
    while low and high:
        column, donor = low.pop(), high[-1]
        thresholds[column], aliases[column] = int(heights[column] * 2.0**64), donor + 1
        heights[donor] -= 1 - heights[column]
        if heights[donor] < 1:
            low.append(high.pop())
    return np.array(thresholds, dtype=np.uint64), np.array(aliases, dtype=np.int32)  # the rest: 1 but for rounding


def sample_negatives(seen: SeenItems, users: ArrayLike, positions: ArrayLike, n_negatives: int, *, seed: int,
                     epoch: int, table: AliasTable | None = None, num_threads: int = 1) -> Int64Array:
    """Draw items that a user hasn't seen, independently and with exact probabilities.

    Without a table, all items that user u hasn't seen are equally likely. With one, an unseen item i has the
    probability q_u(i) = q(i) / m_u, where q is ``table.probabilities`` and m_u, their sum over the unseen items, is
    ``table.unseen_probability(seen)[u]``.

    *Correction of a sampled softmax.* The sum of exp(s_i) over the unseen items is estimated without bias by the mean
    of exp(s_i) / q_u(i) over the k draws, that is, by a sum of exp(s_i - log q(i) + log m_u - log k). A target is seen,
    so it is never drawn and its own score takes no correction. Therefore neither m_u nor k cancels in
    exp(s_t) / (exp(s_t) + sum): without them the negatives' sum is k / m_u times too large.

    Args:
        seen: every user's items.
        users: int64 [N].
        positions: int64 [N], the key of a row's draws, such as the offset of its target in the flat item array; rows
            of equal position and user get equal draws.
        n_negatives: k, draws per row; they may repeat.
        seed, epoch: in 0..2**64 - 1.
        table: distribution over the same catalogue; None: uniform.
        num_threads: threads of the kernel; the result does not depend on it.

    Returns:
        int64 [N, k].

    Raises:
        ValueError: a user has seen every item that can be drawn, or an argument doesn't fit the others.
    """
    chosen, keys = as_int64("users", users), as_int64("positions", positions)
    check_range("users", chosen, 0, len(seen.indptr) - 2)
    check_length("positions", keys, len(chosen), "entry of users")
    out = np.empty((len(chosen), whole_number("n_negatives", n_negatives, 1)), dtype=np.int64)
    if len(chosen) and not seen.n_items:
        raise ValueError("the catalogue has no items, so there is no negative to draw")
    if table is not None:
        _check_same_items(seen, table)
    thresholds, aliases, weights = (None, None, None) if table is None else (
        table.thresholds, table.aliases, table.probabilities)
    attempts = _ATTEMPTS if table is None else max(_ATTEMPTS, seen.n_items // _ITEMS_PER_ATTEMPT)
    failed = len(chosen) and draw_unseen(  # the kernel takes the address of the first row
        seen.indptr, seen.items, *seen.filter, seen.n_items, attempts, thresholds, aliases, weights, chosen, keys,
        whole_number("seed", seed, 0, _LARGEST_WORD), whole_number("epoch", epoch, 0, _LARGEST_WORD), out,
        thread_count(num_threads))
    if failed:
        user = chosen[np.argmax((out == 0).any(axis=1))]
        what = f"all {seen.n_items} items" if table is None else "every item that the table can draw"
        raise ValueError(f"user {user} has seen {what}, so there is no negative to draw; leave such users out")
    return out


def shared_negatives(table: AliasTable, n_negatives: int, *, seed: int, step: int) -> Int64Array:
    """Draw items that all rows of a batch share, int64 [k], independently; seen items and targets may be among them.

    The loss must leave out a drawn item where it is the row's target. The other draws estimate the sum of exp(s_i) over
    all items but the target, without bias, as a sum of exp(s_i - log q(i) - log k): k is the number of all draws,
    including those left out. q is ``table.probabilities``.

    Args:
        table: distribution of the items.
        n_negatives: k, number of draws.
        seed: in 0..2**64 - 1.
        step: number of the step in the training.
    """
    nobody = SeenItems(np.zeros(2, dtype=np.int64), np.empty(0, dtype=np.int32), table.n_items)
    return sample_negatives(nobody, [0], [step], n_negatives, seed=seed, epoch=0, table=table)[0]


def _check_same_items(seen: SeenItems, table: AliasTable) -> None:
    if seen.n_items != table.n_items:
        raise ValueError(f"seen has {seen.n_items} items, the table {table.n_items}; make both from the same data set")
