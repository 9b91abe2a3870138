"""``itemknn``: items that many users of the history's items have too.

    s(u, i) = sum_j w_j S[h_j, i],   S[j, i] = n_ji / (sqrt(n_j n_i) + shrinkage)

n_ji counts the users with both items, n_j those with item j; S keeps each item's nearest neighbours (Sarwar et al.,
"Item-based collaborative filtering recommendation algorithms", WWW 2001; Deshpande and Karypis, TOIS 2004; the
shrinkage as in Ferrari Dacrema, Cremonesi and Jannach, RecSys 2019). w_j falls geometrically with the age of h_j, or is
the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import ClassVar, Self

import numpy as np

from ...data.csr import offsets, owners
from ...data.dataset import Histories
from ...data.seen import SeenItems
from ...ranking.scores import Scores
from ...ranking.sparse_rows import SparseRows
from ..scorer import ColdColumns
from ..sparse_rows import weighted_row_sums
from .base import CountingScorer, Knowledge, summed_rows
from .search import Constants

_ITEMS_AT_ONCE, _PAIRS_AT_ONCE = 1024, 1 << 24


class ItemKNN(CountingScorer):
    """Cosine similarities of the items' sets of users."""

    grid: ClassVar = {"decay": (0.9, 1.0, 0.75, 0.6, 0.4), "shrinkage": (10.0, 0.0, 50.0),
                      "neighbours": (100, 200, 500, 50)}

    def __init__(self, similar: SparseRows, n_cold: int, constants: Constants) -> None:
        """Take the similarities of every item's neighbours, [I+1] rows, and the constants."""
        self.similar, self.n_cold, self.constants = similar, n_cold, constants
        self.cold = ColdColumns.without_vectors(n_cold) if n_cold else None

    @classmethod
    def maker(cls, known: Knowledge) -> Callable[[Constants], Self]:
        """Return what makes the recommender from decay, shrinkage and the number of neighbours."""
        @cache
        def most(shrinkage: float) -> SparseRows:
            return similarities(known.training, known.n_items, shrinkage, max(cls.grid["neighbours"]),
                                threads=known.threads)

        @lru_cache(maxsize=1)  # decay changes nothing of it
        def nearest(shrinkage: float, neighbours: float) -> SparseRows:
            return _nearest(most(shrinkage), neighbours)

        return lambda constants: cls(nearest(constants["shrinkage"], constants["neighbours"]), known.n_cold, constants)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the similarities and the number of cold items."""
        return {"indptr": self.similar.indptr, "items": self.similar.items, "values": self.similar.values,
                "n_cold": np.array(self.n_cold)}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], constants: Constants) -> Self:
        """Rebuild from `arrays`."""
        return cls(SparseRows(arrays["indptr"], arrays["items"], arrays["values"]), int(arrays["n_cold"]),
                   constants)

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score what follows every history."""
        sparse = summed_rows(self.similar, histories, self.constants["decay"], threads)
        return Scores.without_vectors(len(histories), len(self.similar) - 1, sparse=sparse)


def similarities(training: Histories, n_items: int, shrinkage: float, neighbours: float, *, threads: int = 1
                 ) -> SparseRows:
    """Return the similarities of every item's nearest neighbours, float32, [I+1] rows; ties go to the smaller id."""
    users = SeenItems.from_histories(training.indptr, training.items, n_items)  # each item once a user
    n_users = len(users.indptr) - 1
    order = np.argsort(users.items, kind="stable")
    users_of = owners(np.diff(users.indptr))[order] + 1  # rows from 1
    counts = np.bincount(users.items, minlength=n_items + 1)
    starts = offsets(counts)
    rows = np.concatenate([[0], users.indptr])  # row 0 is padding
    roots = np.sqrt(counts)
    kept: list[SparseRows] = []
    largest = max(n_items, n_users)
    others = np.repeat(np.diff(users.indptr), np.diff(users.indptr))
    pairs = offsets(np.minimum(np.bincount(users.items, others, n_items + 1), n_items).astype(np.int64))  # at most
    last = 0
    while last <= n_items:  # a range of items with a bounded number of pairs at a time: popular ones have many
        first = last
        within = int(np.searchsorted(pairs, pairs[first] + _PAIRS_AT_ONCE, "right")) - 1
        last = min(max(within, first + 1), first + _ITEMS_AT_ONCE, n_items + 1)
        entries = slice(starts[first], starts[last])
        common = weighted_row_sums(
            starts[first:last + 1] - starts[first], users_of[entries], np.ones(starts[last] - starts[first]),
            np.append(rows, np.full(largest - n_users, rows[-1])), users.items, np.ones(len(users.items)),
            largest, num_threads=threads)
        own = owners(np.diff(common.indptr)) + first
        other = common.items != own
        own, items, both = own[other], common.items[other], common.values[other]
        values = both / (roots[own] * roots[items] + shrinkage)
        lengths = np.bincount(own - first, minlength=last - first)
        kept.append(_nearest(SparseRows(offsets(lengths), items, values.astype(np.float32)), neighbours))
    return SparseRows(offsets(np.concatenate([np.diff(rows.indptr) for rows in kept])),
                      np.concatenate([rows.items for rows in kept]), np.concatenate([rows.values for rows in kept]))


def _nearest(similar: SparseRows, neighbours: float) -> SparseRows:
    """Return the largest values of every row, of equal ones those of the smaller items."""
    lengths = np.diff(similar.indptr)
    if lengths.max(initial=0) <= neighbours:
        return similar
    own = owners(lengths)
    order = np.lexsort((-similar.values, own))  # stable: items rise among equal values
    place = np.arange(len(order)) - similar.indptr[own]  # in its row, as rows stay in their order
    chosen = np.sort(order[place < neighbours])
    return SparseRows(offsets(np.minimum(lengths, neighbours)), similar.items[chosen], similar.values[chosen])
