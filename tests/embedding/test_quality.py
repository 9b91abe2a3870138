from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.embedding.quality import chance_share, neighbour_share


def test_share_of_neighbours_against_a_literal_count() -> None:
    random = np.random.default_rng(0)
    vectors = np.concatenate([np.full((1, 5), 9.0), random.normal(size=(700, 5))]).astype(np.float32)  # two blocks
    labels = np.concatenate([[-1], random.integers(0, 4, 700)])
    same = []
    for item in range(1, 701):
        cosines = [(vectors[item] @ vectors[other] / np.linalg.norm(vectors[item]) / np.linalg.norm(vectors[other]),
                    labels[other] == labels[item]) for other in range(1, 701) if other != item]
        same += [equal for _, equal in sorted(cosines, key=lambda pair: -pair[0])[:10]]
    assert neighbour_share(vectors, labels) == pytest.approx(np.mean(same), abs=1e-9)
    pairs = [labels[one] == labels[two] for one in range(1, 701) for two in range(1, 701) if one != two]
    assert chance_share(labels) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_vectors_that_are_the_categories_have_all_neighbours_in_them() -> None:
    labels = np.array([-1, *np.repeat(np.arange(6), 20)])
    vectors = np.concatenate([np.zeros((1, 6)), np.eye(6)[labels[1:]]])
    assert neighbour_share(vectors, labels) == 1.0
    assert neighbour_share(vectors[:4], labels[:4]) == 1.0  # two other items only
