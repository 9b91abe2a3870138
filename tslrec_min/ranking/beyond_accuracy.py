"""Figures of recommended lists beyond accuracy: coverage, concentration, popularity, novelty and diversity.

None needs a target. They say what accuracy leaves out: whether few popular items are recommended to everybody. Good
values depend on the application, so no figure is better for being larger.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.validation import Int64Array, as_int64, check_length, check_range

FloatArray = NDArray[np.float64]

_UNIT = 2.0**-32
"""Of sums of distances: small beside 1, and the sum over a billion lists still fits into an int64."""


def coverage(counts: ArrayLike) -> float:
    """Return the share of the catalogue that is in at least one list (Ge, Delgado-Battenfeld and Jannach, RecSys 2010).

    Args:
        counts: int64 [I+1], in how many lists each item is; row 0 is padding.
    """
    return float((np.asarray(counts)[1:] > 0).mean())


def gini(counts: ArrayLike) -> float:
    """Return the Gini coefficient of how often items are recommended, those in no list included.

    With counts x in rising order, sum_i (2 i - I - 1) x_i / (I sum_i x_i): 0 if all items are recommended equally
    often, (I - 1) / I if a single item is recommended. As a figure of recommenders: Fleder and Hosanagar, Management
    Science 55(5), 2009.

    Args:
        counts: int64 [I+1], not all 0; row 0 is padding.
    """
    rising = np.sort(np.asarray(counts)[1:]).astype(np.float64)
    places = 2.0 * np.arange(1, len(rising) + 1) - len(rising) - 1
    return max(0.0, float((places * rising).sum() / (len(rising) * rising.sum())))  # rounding may give less than 0


def popularity_percentiles(training: ArrayLike) -> FloatArray:
    """Return the share of the catalogue that is less popular than each item, float64 [I+1]; ties count by half.

    The mean over all items is 1/2 in every data set.

    Args:
        training: int64 [I+1], interactions of each item in training; row 0 is padding.
    """
    counts = np.asarray(training)[1:]
    rising = np.sort(counts)
    below, up_to = np.searchsorted(rising, counts), np.searchsorted(rising, counts, side="right")
    return np.concatenate([[0.0], (below + up_to) / (2 * len(counts))])


def self_information(training: ArrayLike) -> FloatArray:
    """Return -log2 p of each item, in bits, float64 [I+1]: how surprising it is.

    p is the item's share of the training interactions after one more for every item, (n_i + 1) / (N + I): items without
    any, which a model with texts may recommend, keep a finite value. Self-information as novelty: Zhou et al., PNAS
    107(10), 2010, whose p is a share of the users, and Vargas and Castells, RecSys 2011, whose "free discovery" has
    this one without the addition.

    Args:
        training: int64 [I+1], interactions of each item in training; row 0 is padding.
    """
    counts = np.asarray(training)[1:] + 1.0
    return np.concatenate([[0.0], np.log2(counts.sum()) - np.log2(counts)])


def list_distances(items: ArrayLike, vectors: np.ndarray) -> FloatArray:
    """Return the mean of 1 - cosine over all pairs of a list's items, float64 [B]; NaN for less than two items.

    Intra-list distance: Ziegler et al., WWW 2005. A vector of zeros has cosine 0 with every vector.

    Args:
        items: int64 [B, k], 0..I; 0 is no item.
        vectors: float32 [I+1, D], row 0 is not read.
    """
    rows = np.asarray(items)
    total, squares = np.zeros((len(rows), vectors.shape[1])), np.zeros(len(rows))
    for column in rows.T:  # one place of the lists at a time, as B x k x D numbers may be many
        unit = vectors[column].astype(np.float64)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        unit[column == 0] = 0
        total += unit
        squares += np.square(unit).sum(axis=1)
    lengths = (rows > 0).sum(axis=1)
    # The squared norm of the sum has every pair's cosine twice, and the items' own squares.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 1, 1 - (np.square(total).sum(axis=1) - squares) / (lengths * (lengths - 1)), np.nan)


class ListStatistics:
    """The figures of many lists, which are added block by block; memory does not grow with their number."""

    def __init__(self, training: ArrayLike, vectors: np.ndarray | None = None) -> None:
        """Begin without lists.

        Args:
            training: int64 [I+1], interactions of each item in training; row 0 is padding.
            vectors: float32 [I+1, D], for the distance of a list's items; None: without this figure.

        Raises:
            ValueError: the arguments don't fit each other.
        """
        self._training, self._vectors = as_int64("training", training), vectors
        check_range("training", self._training, 0, 2**53)
        if len(self._training) < 2:
            raise ValueError(f"training has {len(self._training)} entries; expected the padding and at least one item")
        if vectors is not None:
            check_length("vectors", vectors, len(self._training), "entry of training")
        self.totals: Int64Array = np.zeros(len(self._training) + 2, np.int64)
        """int64 [I+3]: in how many lists each item is, with 0 for padding; the sum of `list_distances` in units of
        2^-32, and how many there are. Whole numbers, so that the totals of parts of the lists may be added in any
        order."""

    def add(self, items: ArrayLike) -> None:
        """Add lists, int64 [B, k]; 0 is no item.

        Raises:
            ValueError: they are no such array, or an id is not in 0..I.
        """
        rows = np.asarray(items)
        if rows.ndim != 2:
            raise ValueError(f"items have the shape {rows.shape}; expected two dimensions, a row per list")
        flat = as_int64("items", rows.reshape(-1))
        check_range("items", flat, 0, len(self._training) - 1)
        self.totals[:-2] += np.bincount(flat, minlength=len(self._training))
        self.totals[0] = 0
        if self._vectors is not None:
            distances = list_distances(flat.reshape(rows.shape), self._vectors)
            known = distances[~np.isnan(distances)]
            self.totals[-2:] += np.rint(known / _UNIT).astype(np.int64).sum(), len(known)

    def figures(self) -> dict[str, float]:
        """Return the figures of the lists so far.

        ``coverage``, ``gini``; ``popularity``, ``percentile`` and ``novelty``: the number of training interactions,
        `popularity_percentiles` and `self_information`, averaged over all places of all lists; ``distance``: the mean
        of `list_distances`, with vectors and if a list has two items. ``popularity`` is ARP if all lists have the same
        length: Yin et al., "Challenging the Long Tail Recommendation", PVLDB 5(9), 2012.

        Raises:
            ValueError: no list has an item.
        """
        counts, (distance, lists) = self.totals[:-2], self.totals[-2:].tolist()
        if not counts.any():
            raise ValueError("no list has an item; add lists first")
        shares = counts / counts.sum()
        figures = {"coverage": coverage(counts), "gini": gini(counts)}
        figures |= {name: float((shares * values).sum()) for name, values in (
            ("popularity", self._training), ("percentile", popularity_percentiles(self._training)),
            ("novelty", self_information(self._training)))}
        return figures | ({"distance": distance * _UNIT / lists} if lists else {})
