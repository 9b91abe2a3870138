"""Latent categories of items, and the users' preference distributions over them (TSLRec, arXiv 2406.00333).

k-means with k-means++ seeding (Arthur and Vassilvitskii, SODA 2007) on the item vectors of a recommender that
was pretrained on the training split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.csr import owners
from ..data.dataset import Histories
from ..errors import TslrecError

_MOST_ITERATIONS = 300


@dataclass(frozen=True)
class Clustering:
    """A k-means solution."""

    centroids: np.ndarray
    """float64 [K, d]."""
    labels: np.ndarray
    """int64 [N]: the nearest centroid of every point, ties by the lowest number."""
    inertia: float
    """Sum of squared distances to the nearest centroid."""


def k_means(points: np.ndarray, n_clusters: int, *, restarts: int, seed: int) -> Clustering:
    """Cluster points by Lloyd's algorithm; the best of several k-means++ starts.

    An empty cluster is repaired by moving its centroid to the point farthest from its own.

    Args:
        points: float [N, d], finite.
        n_clusters: K <= number of different points.
        restarts: number of starts.
        seed: random seed.

    Raises:
        TslrecError: there are fewer different points than clusters.
    """
    points = np.ascontiguousarray(points, np.float64)
    if len(np.unique(points, axis=0)) < n_clusters:
        raise TslrecError(f"{n_clusters} latent categories asked for, but only {len(np.unique(points, axis=0))} "
                          "different item vectors with training interactions; lower --categories")
    random = np.random.default_rng(seed)
    solutions = (_lloyd(points, _plus_plus(points, n_clusters, random)) for _ in range(restarts))
    return min(solutions, key=lambda solution: solution.inertia)


def _squared_distances(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, float64 [N, K]."""
    cross = points @ centroids.T
    distances = np.square(points).sum(axis=1)[:, None] - 2 * cross + np.square(centroids).sum(axis=1)
    return np.maximum(distances, 0)


def _plus_plus(points: np.ndarray, n_clusters: int, random: np.random.Generator) -> np.ndarray:
    centroids = [points[random.integers(len(points))]]
    nearest = _squared_distances(points, centroids[0][None])[:, 0]
    while len(centroids) < n_clusters:
        # Rounding can leave 0 / 0 when every point is a centroid already; uniform then.
        weights = nearest / nearest.sum() if nearest.sum() > 0 else None
        centroids.append(points[random.choice(len(points), p=weights)])
        nearest = np.minimum(nearest, _squared_distances(points, centroids[-1][None])[:, 0])
    return np.stack(centroids)


def _lloyd(points: np.ndarray, centroids: np.ndarray) -> Clustering:
    n_clusters = len(centroids)
    labels = np.full(len(points), -1)
    for _ in range(_MOST_ITERATIONS):
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
    """Give every item its latent category.

    Items without a training interaction take no part in the fit and join the nearest centroid afterwards.

    Args:
        item_table: float [I+1, d], row 0 padding.
        training: training histories.
        n_categories: K.
        restarts, seed: of k-means.

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
    """Return p_u[k] = share of user u's items in latent category k.

    Args:
        histories: histories of U users; an empty one gives a row of zeros.
        labels: int64 [I+1], category of every item.
        n_categories: K.

    Returns:
        float32 [U, K].
    """
    flat = owners(histories.lengths) * n_categories + labels[histories.items]
    counts = np.bincount(flat, minlength=len(histories) * n_categories).reshape(len(histories), n_categories)
    return (counts / np.maximum(histories.lengths, 1)[:, None]).astype(np.float32)
