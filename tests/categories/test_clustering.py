"""Latent categories: k-means against scikit-learn, and the preference distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from tslrec_min.categories.clustering import _lloyd, k_means, latent_categories, preference_distributions
from tslrec_min.data.dataset import Histories
from tslrec_min.errors import TslrecError


def blobs(seed: int = 0, n_clusters: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(n_clusters, 8)) * 6
    return np.concatenate([centre + random.normal(size=(40, 8)) for centre in centres]).astype(np.float32)


def test_finds_separated_clusters() -> None:
    labels = k_means(blobs(), 6, restarts=8, seed=0).labels.reshape(6, 40)
    assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 6


@pytest.mark.parametrize("n_clusters", [2, 9, 20])
def test_as_good_as_scikit_learn(n_clusters: int) -> None:
    points = np.random.default_rng(1).normal(size=(400, 16))
    ours = k_means(points, n_clusters, restarts=8, seed=0).inertia
    theirs = KMeans(n_clusters, n_init=8, random_state=0).fit(points).inertia_
    assert ours <= theirs * 1.02


def test_same_fixed_point_as_scikit_learn_from_the_same_start() -> None:
    points = blobs(2)
    start = points[::40][:5].astype(np.float64)
    theirs = KMeans(5, init=start, n_init=1, tol=0, algorithm="lloyd").fit(points.astype(np.float64))
    ours = _lloyd(points.astype(np.float64), start)
    assert np.array_equal(ours.labels, theirs.labels_)
    np.testing.assert_allclose(ours.centroids, theirs.cluster_centers_, atol=1e-9)


def test_empty_clusters_are_repaired() -> None:
    points = np.array([[0.0], [0.1], [0.2], [10.0]])
    solution = _lloyd(points, np.array([[0.0], [100.0], [200.0]]))  # two starts that nothing is near
    assert sorted(np.bincount(solution.labels, minlength=3) > 0) == [True] * 3
    assert np.isfinite(solution.centroids).all()


def test_repeatable_for_a_seed_and_refuses_too_many() -> None:
    first, second = (k_means(blobs(), 7, restarts=2, seed=5) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    with pytest.raises(TslrecError, match="--categories"):
        k_means(np.zeros((10, 3)), 2, restarts=1, seed=0)


def test_items_without_training_interaction_join_afterwards() -> None:
    table = np.concatenate([np.zeros((1, 8), np.float32), blobs(), [[1e6] * 8]]).astype(np.float32)
    training = Histories(np.array([0, 240]), np.arange(1, 241, dtype=np.int32))  # all but the last, an outlier
    with_outlier = latent_categories(table, training, 6, restarts=8, seed=0)
    assert np.array_equal(with_outlier.labels[1:241], latent_categories(table[:241], training, 6, restarts=8,
                                                                        seed=0).labels[1:])
    assert with_outlier.labels[0] == -1 and 0 <= with_outlier.labels[241] < 6


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=6))
def test_preferences_are_shares(rows: list[list[int]]) -> None:
    labels = np.array([-1, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    histories = Histories(np.cumsum([0, *map(len, rows)]), np.array([i for row in rows for i in row], np.int32))
    found = preference_distributions(histories, labels, 4)
    for user, row in enumerate(rows):
        expected = [sum(labels[item] == k for item in row) / max(1, len(row)) for k in range(4)]
        np.testing.assert_allclose(found[user], expected, atol=1e-6)
