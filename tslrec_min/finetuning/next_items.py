"""What a language model is tuned on when it learns items: the next item of every training history, and what counts of
transitions say about it already.

    s(u, i) = s z_u . e_i + b T_-u(u, i) + q log P(i),   z_u = sum_j w_j e_{h_j} / |sum_j w_j e_{h_j}|

e_i are the items' projected vectors (`projection`), w_j falls geometrically with the age of item h_j, T is the evidence
of the model ``transitions`` (`recommenders.counting.transitions`), with constants that no targets chose, and P(i) the
item's share of all interactions. T_-u leaves out what the user's own history adds to the counts, so that it is worth
in training what it is worth for new items. It is fixed: only what the histories do not explain by themselves earns
gradient (a model fitted to the residual of another one, as in boosting; Friedman, Annals of Statistics 29(5), 2001).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..data.csr import offsets, owners, ranges
from ..data.dataset import Histories
from ..ranking.sparse_rows import SparseRows
from ..recommenders.counting.pairs import transition_counts
from ..recommenders.counting.transitions import DISTANCE_EXPONENT, Transitions
from ..recommenders.sparse_rows import weighted_row_sums

_PLACES, _TAU, _EVIDENCE_DECAY = (Transitions.grid[name][0] for name in ("places", "tau", "decay"))
_ROUNDING = 1e-9
CONTEXT_DECAY = 0.7
"""The weight of an item in a user's vector falls by this factor with every item after it."""
_CONTEXT_ITEMS = 10
_MOST_PLACES = 50
"""Places of a history that are learned from, the last ones, so that a few long histories don't outweigh the others."""


@dataclass(frozen=True)
class NextItems:
    """N places of histories that have an item and one before it, and the evidence of counts for the item there."""

    items: np.ndarray
    """int32 [M], the items of all histories."""
    places: np.ndarray
    """int64 [N], index in `items` of the item to foretell."""
    first: np.ndarray
    """int64 [N], index in `items` of the first item that the forecast reads; it reads up to `places`."""
    log_shares: np.ndarray
    """float32 [I+1], log P(i); an item that training lacks counts as half an interaction."""
    evidence: SparseRows | None
    """Rows 0..I: what follows each item, log(1 + C / tau). Then, for every user's every item, what leaving out the
    user's own transitions changes of it. None: the evidence is 0."""
    own_row: np.ndarray
    """int64 [M], the row of `evidence` with that change for the item of this user."""

    @classmethod
    def of(cls, training: Histories, n_items: int, users: np.ndarray, *, with_counts: bool) -> Self:
        """Return the places of some users' histories; transitions are counted in those of all.

        Args:
            training: training histories.
            n_items: number of items I.
            users: int64 [B].
            with_counts: whether to compute the evidence.
        """
        counts = np.maximum(np.bincount(training.items, minlength=n_items + 1), 0.5)
        evidence, own_row = _evidence(training, n_items) if with_counts else (None, np.zeros(0, np.int64))
        nowhere = np.zeros(0, np.int64)
        every = cls(training.items, nowhere, nowhere, np.log(counts / max(len(training.items), 1)).astype(np.float32),
                    evidence, own_row)
        return every.of_users(training, users)

    def of_users(self, training: Histories, users: np.ndarray) -> Self:
        """Return the places of other users' histories, int64 [B], with the same counts."""
        kept = np.minimum(np.maximum(training.lengths[users] - 1, 0), _MOST_PLACES)
        places = ranges(training.indptr[users + 1] - kept, kept)
        first = np.maximum(places - _CONTEXT_ITEMS, np.repeat(training.indptr[users], kept))
        return replace(self, places=places, first=first)

    def __len__(self) -> int:
        """Return the number of places N."""
        return len(self.places)

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.log_shares) - 1

    @property
    def targets(self) -> np.ndarray:
        """The items to foretell, int64 [N]."""
        return self.items[self.places].astype(np.int64)

    def contexts(self, rows: np.ndarray) -> tuple[Histories, np.ndarray]:
        """Return what the forecasts at some places, `rows`, read, oldest first, and each item's weight, float32."""
        lengths, index, ages = self._read(rows)
        return Histories(offsets(lengths), self.items[index]), (CONTEXT_DECAY ** ages).astype(np.float32)

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how many items the forecasts read, where each is in `items`, and its age in items from the end."""
        lengths = self.places[rows] - self.first[rows]
        index = ranges(self.first[rows], lengths)
        return lengths, index, np.repeat(self.places[rows], lengths) - 1 - index

    def counted(self, rows: np.ndarray, threads: int) -> SparseRows | None:
        """Return T_-u at some places, float32 with B rows; None without counts."""
        if self.evidence is None:
            return None
        lengths, index, ages = self._read(rows)
        weights = _EVIDENCE_DECAY ** ages.astype(np.float64)
        weights /= np.repeat(np.add.reduceat(weights, offsets(lengths)[:-1]), lengths)
        # every item twice: with what follows it in all histories, and with the user's own share of that
        both = np.stack([self.items[index], self.own_row[index]], axis=1).reshape(-1)
        return weighted_row_sums(offsets(2 * lengths), both, np.repeat(weights, 2), self.evidence.indptr,
                                 self.evidence.items, self.evidence.values, len(self.evidence) - 1, threads)


@dataclass(frozen=True)
class PlacesOfItems:
    """The places that each item occurs at, in one way or another."""

    indptr: np.ndarray
    """int64 [I+2]: item i has ``places[indptr[i]:indptr[i+1]]``."""
    places: np.ndarray
    """int64 [M]."""

    @classmethod
    def grouped(cls, items: np.ndarray, places: np.ndarray, n_items: int) -> Self:
        """Group places by their items.

        Args:
            items: integers [M], 1..I.
            places: int64 [M].
            n_items: number of items I.
        """
        order = np.argsort(items, kind="stable")
        return cls(offsets(np.bincount(items, minlength=n_items + 1)), places[order])

    def of_items(self, items: np.ndarray) -> np.ndarray:
        """Return the places of some items, int64."""
        return self.places[ranges(self.indptr[items], self.indptr[items + 1] - self.indptr[items])]


def _evidence(training: Histories, n_items: int) -> tuple[SparseRows, np.ndarray]:
    """Return the rows of `NextItems.evidence` and, for every item of a history, its row there, int64 [M]."""
    counts = transition_counts(training, n_items, int(_PLACES), DISTANCE_EXPONENT)
    # A user's own transitions are those of histories in which no two users share an item.
    pairs, ids = np.unique(owners(training.lengths) * (n_items + 1) + training.items, return_inverse=True)
    item_of = np.concatenate([[0], pairs % (n_items + 1)])
    own = transition_counts(Histories(training.indptr, ids.reshape(-1) + 1), len(pairs), int(_PLACES),
                            DISTANCE_EXPONENT)
    before, after = np.repeat(item_of, np.diff(own.indptr)), item_of[own.items]
    keys = owners(np.diff(counts.indptr)) * (n_items + 1) + counts.items
    of_all = counts.values[np.searchsorted(keys, before * (n_items + 1) + after)]
    others = of_all - own.values
    others[others < _ROUNDING * of_all] = 0  # transitions of this user alone
    change = np.log1p(others / _TAU) - np.log1p(of_all / _TAU)
    rows = SparseRows(np.concatenate([counts.indptr, counts.indptr[-1] + own.indptr[2:]]),
                      np.concatenate([counts.items, after.astype(np.int32)]),
                      np.concatenate([np.log1p(counts.values / _TAU), change]).astype(np.float32))
    return rows, n_items + 1 + ids.reshape(-1)
