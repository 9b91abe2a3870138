"""The base class of recommenders without training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ...data.dataset import Dataset, Evaluation, Histories
from ...item_vectors.load import ItemEmbeddings
from ...ranking.metrics import metric_values
from ...ranking.scores import Scores
from ...ranking.sparse_rows import SparseRows
from ..scorer import Scorer, ranks_alone
from ..sparse_rows import weighted_row_sums
from .search import Constants, chosen_constants


@dataclass(frozen=True)
class Knowledge:
    """What recommenders without training are made from."""

    training: Histories
    """Nothing else is counted."""
    n_items: int
    """I."""
    n_cold: int
    """C, cold items of the data set."""
    validation: Evaluation
    """Targets that only choose constants."""
    embeddings: ItemEmbeddings | None
    """Item embeddings, for ``content``."""
    threads: int

    @classmethod
    def of(cls, dataset: Dataset, embeddings: ItemEmbeddings | None, threads: int) -> Self:
        """Return what may be known of a data set: its training histories, and validation targets for constants."""
        return cls(dataset.training(), dataset.n_items, dataset.cold.n_items if dataset.cold else 0,
                   dataset.evaluation("validation"), embeddings, threads)

    @property
    def counts(self) -> np.ndarray:
        """Occurrences of every item in the training histories, int64 [I+1]."""
        return np.bincount(self.training.items, minlength=self.n_items + 1)


class CountingScorer(Scorer):
    """A recommender whose state is a few arrays and constants."""

    grid: ClassVar[Mapping[str, Sequence[float]]] = {}
    """The values to try of every constant, the usual ones first."""
    constants: Constants

    @classmethod
    @abstractmethod
    def maker(cls, known: Knowledge) -> Callable[[Constants], Self]:
        """Return what makes the recommender with given constants; it counts once what they don't change.

        Raises:
            TslrecError: something needed is missing.
        """

    @classmethod
    def fit(cls, known: Knowledge) -> tuple[Self, float]:
        """Choose the constants; return the recommender, and its validation NDCG@10.

        A sample of the targets chooses, but the figure is that of all: it is compared with those of networks.
        """
        make = cls.maker(known)

        def scores(constants: Constants, histories: Histories) -> Scores:
            return make(constants).scores(histories, threads=known.threads)

        constants, _ = chosen_constants(cls.grid, scores, known.validation, known.n_items, known.threads)
        chosen, seen = make(constants), known.validation.seen(known.n_items)
        ranks, = ranks_alone(chosen, known.validation, [seen], threads=known.threads)
        return chosen, float(metric_values(ranks, "ndcg@10").mean())

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return what `restore` needs beside the constants."""

    @classmethod
    @abstractmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], constants: Constants) -> Self:
        """Rebuild a recommender from `arrays` and its constants."""


def items_read(decay: float) -> int | None:
    """Return how many of the last items of a history have a weight, see `recency_weights`; None: all."""
    return None if decay >= 1 else 1 + int(np.log(1e-3) / np.log(decay))


def recency_weights(histories: Histories, decay: float) -> tuple[Histories, np.ndarray]:
    """Return the recent parts of histories, and a weight of each item, float64 [N].

    The weight of an item is decay^age, age counted in items from the end, divided by the sum over the history. Items
    whose weight would be below a thousandth of the last one's are left out.
    """
    count = items_read(decay)
    recent = histories if count is None else histories.last(count)
    ages = np.repeat(recent.indptr[1:], recent.lengths) - 1 - np.arange(len(recent.items))
    weights = decay ** ages.astype(np.float64)
    sums = np.add.reduceat(np.append(weights, 0), recent.indptr[:-1]) if len(recent) else weights
    return recent, weights / np.repeat(sums, recent.lengths)


def summed_rows(rows: SparseRows, histories: Histories, decay: float, threads: int) -> SparseRows:
    """Return the sum of the rows of every history's items with their `recency_weights`, float32, B rows.

    Args:
        rows: of all items, [I+1].
        histories: B of them.
        decay: see `recency_weights`.
        threads: threads of the kernel.
    """
    recent, weights = recency_weights(histories, decay)
    return weighted_row_sums(recent.indptr, recent.items, weights, rows.indptr, rows.items, rows.values,
                             len(rows) - 1, num_threads=threads)
