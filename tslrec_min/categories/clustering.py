"""Latent categories of items, and the users' preference distributions over them (TSLRec, arXiv 2406.00333).

Categories come from k-means with k-means++ seeding (Arthur and Vassilvitskii, SODA 2007) on the item table of a
recommender that was pretrained on the training split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.csr import owners
from ..data.dataset import Histories
from ..errors import TslrecError

_MAX_ITERATIONS = 300


@dataclass(frozen=True)
class Clustering:
    """A k-means solution."""

    centroids: np.ndarray
    """float64 [K, d]."""
    labels: np.ndarray
    """int64 [N]: the nearest centroid of every point; the first one of several."""
    inertia: float
    """Sum of squared distances to the nearest centroid."""


def k_means(points: np.ndarray, n_clusters: int, *, restarts: int, seed: int) -> Clustering:
    """Cluster points by Lloyd's algorithm; return the best result of several k-means++ starts.

    The centroid of an empty cluster moves to the point that is farthest from its own centroid.

    Args:
        points: float [N, d], finite.
        n_clusters: K, at most the number of different points.
        restarts: number of starts.
        seed: random seed.

    Raises:
        TslrecError: there are fewer different points than clusters.
    """
    points = np.ascontiguousarray(points, np.float64)
    n_different = len(np.unique(points, axis=0))
    if n_different < n_clusters:
        raise TslrecError(f"{n_clusters} latent categories were requested, but the items with training interactions "
                          f"have only {n_different} different vectors; lower --categories")
    random = np.random.default_rng(seed)
    solutions = (_lloyd(points, _plus_plus(points, n_clusters, random)) for _ in range(restarts))
    return min(solutions, key=lambda solution: solution.inertia)


def _squared_distances(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, float64 [N, K]."""
    squares = np.square(points).sum(axis=1)[:, None] - 2 * (points @ centroids.T) + np.square(centroids).sum(axis=1)
    return np.maximum(squares, 0)


def _plus_plus(points: np.ndarray, n_clusters: int, random: np.random.Generator) -> np.ndarray:
    centroids = [points[random.integers(len(points))]]
    nearest = _squared_distances(points, centroids[0][None])[:, 0]
    while len(centroids) < n_clusters:
        # If every point is a centroid, rounding can leave 0 / 0; the draw is uniform then.
        weights = nearest / nearest.sum() if nearest.sum() > 0 else None
        centroids.append(points[random.choice(len(points), p=weights)])
        nearest = np.minimum(nearest, _squared_distances(points, centroids[-1][None])[:, 0])
    return np.stack(centroids)


def _lloyd(points: np.ndarray, centroids: np.ndarray) -> Clustering:
    n_clusters = len(centroids)
    labels = np.full(len(points), -1)
    for _ in range(_MAX_ITERATIONS):
        distances = _squared_distances(points, centroids)
        previous, labels = labels, distances.argmin(axis=1)
        distance = distances[np.arange(len(points)), labels]
        for empty in np.flatnonzero(np.bincount(labels, minlength=n_clusters) == 0):
            counts = np.bincount(labels, minlength=n_clusters)
            farthest = np.where(counts[labels] > 1, distance, -1.0).argmax()
            labels[farthest], distance[farthest] = empty, 0.0
        if np.array_equal(labels, previous):
            break
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, points)
        centroids = sums / np.bincount(labels, minlength=n_clusters)[:, None]
    return Clustering(centroids, labels, float(distance.sum()))


def latent_categories(item_table: np.ndarray, training: Histories, n_categories: int, *, restarts: int,
                      seed: int) -> Clustering:
    """Assign a latent category to every item.

    Only items with training interactions are clustered; the others join the nearest centroid afterwards.

    Args:
        item_table: float [I+1, d], row 0 padding.
        training: training histories.
        n_categories, restarts, seed: see `k_means`.

    Returns:
        A clustering with labels int64 [I+1], 0..K-1; ``labels[0]`` is -1 (padding).
    """
    counts = np.bincount(training.items, minlength=len(item_table))
    fitted = np.flatnonzero(counts > 0)
    solution = k_means(item_table[fitted], n_categories, restarts=restarts, seed=seed)
    labels = _squared_distances(item_table.astype(np.float64), solution.centroids).argmin(axis=1)
    labels[fitted] = solution.labels
    labels[0] = -1
    return Clustering(solution.centroids, labels, solution.inertia)


def preference_distributions(histories: Histories, labels: np.ndarray, n_categories: int) -> np.ndarray:
    """Return p_u[k], the share of user u's items in latent category k, float32 [U, K].

    Args:
        histories: of U users; an empty one gives a row of zeros.
        labels: int64 [I+1], category of every item.
        n_categories: K.
    """
    flat = owners(histories.lengths) * n_categories + labels[histories.items]
    counts = np.bincount(flat, minlength=len(histories) * n_categories).reshape(len(histories), n_categories)
    return (counts / np.maximum(histories.lengths, 1)[:, None]).astype(np.float32)
