from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.data.dataset import Evaluation
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.counting import content_cca
from tslrec_min.recommenders.counting.content import Content
from tslrec_min.recommenders.counting.content_cca import ContentCCA, canonical

from ..factories import all_scores, histories_of, known_from
from .test_content import embeddings_of

N_KINDS, PER_KIND = 8, 12
N_ITEMS = N_KINDS * PER_KIND
CONSTANTS = {"decay": 1.0, "components": 5}


def kinds() -> np.ndarray:
    return np.arange(N_ITEMS) % N_KINDS


def vectors() -> np.ndarray:
    """Items of one kind share a little; what tells items apart most has nothing to do with kinds."""
    random = np.random.default_rng(0)
    shared = random.normal(size=(N_KINDS, N_KINDS))[kinds()]
    rows = np.concatenate([shared + 0.3 * random.normal(size=shared.shape), 5 * random.normal(size=(N_ITEMS, 12))], 1)
    mixed = rows @ np.linalg.qr(random.normal(size=(20, 20)))[0] + 3
    return np.concatenate([np.zeros((1, 20)), mixed]).astype(np.float32)


def histories() -> list[list[int]]:
    """Each user has items of one kind; the last items of every kind are in no history."""
    random = np.random.default_rng(1)
    return [list(1 + kind + N_KINDS * random.permutation(PER_KIND - 2)[:5]) for kind in range(N_KINDS)
            for _ in range(6)]


def test_it_finds_what_items_of_a_history_share_for_unseen_items_too() -> None:
    known = known_from(histories(), N_ITEMS, embeddings=embeddings_of(vectors()))
    right = {}
    for model in (Content, ContentCCA):
        scorer = model.maker(known)({"decay": 1.0, "components": N_KINDS - 1})
        scores = all_scores(scorer.scores(histories_of([[item] for item in range(1, N_ITEMS + 1)])))
        scores[np.arange(N_ITEMS), np.arange(N_ITEMS)] = -np.inf
        unseen = np.arange(N_ITEMS - 2 * N_KINDS, N_ITEMS)
        best = unseen[scores[:, unseen].argmax(axis=1)]
        right[model] = (kinds()[best] == kinds()).mean()
    assert right[ContentCCA] > 0.9 > 0.6 > right[Content]


def test_components_are_those_of_a_generalised_eigenproblem() -> None:
    known, rows = vectors(), histories()
    weights, counts = np.zeros((N_ITEMS, N_ITEMS)), np.zeros(N_ITEMS)
    for row in rows:
        for one in row:
            for other in row:
                if one != other:
                    weights[one - 1, other - 1] += 1
    counts = weights.sum(axis=1)
    centred = known[1:].astype(np.float64) - known[1:].mean(axis=0, dtype=np.float64)
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    white = left * np.sqrt(N_ITEMS)
    white -= counts @ white / counts.sum()
    within = white.T @ (counts[:, None] * white)
    within += 0.01 * np.trace(within) / 20 * np.eye(20)
    correlations, directions = np.linalg.eig(np.linalg.solve(within, white.T @ weights @ white))
    components = white @ directions[:, np.argsort(-correlations.real)].real
    components /= np.sqrt((components ** 2).mean(axis=0))
    found, _ = canonical(known, known[:0], histories_of(rows))
    assert not found[0].any()
    signs = np.sign((found[1:] * components).sum(axis=0))
    np.testing.assert_allclose(found[1:] * signs, components, atol=1e-3)


def test_targets_change_nothing_and_cold_items_have_vectors() -> None:
    rows = np.concatenate([vectors(), vectors()[7:9]])
    known = known_from(histories(), N_ITEMS, n_cold=2, embeddings=embeddings_of(rows, 2))
    scorer = ContentCCA.maker(known)(CONSTANTS)
    assert scorer.cold is not None
    np.testing.assert_allclose(scorer.cold.rows, scorer.vectors[7:9], atol=1e-5)
    asked = histories_of([[1, 2], [3]])
    other = known_from(histories(), N_ITEMS, n_cold=2, embeddings=embeddings_of(rows, 2), validation=Evaluation(
        asked, np.arange(2), np.array([9, 9])))
    np.testing.assert_array_equal(ContentCCA.maker(other)(CONSTANTS).vectors, scorer.vectors)
    again = ContentCCA.restore(scorer.arrays(), scorer.constants)
    np.testing.assert_array_equal(again.vectors, scorer.vectors)


def test_few_components_are_kept_and_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_cca, "MOST_COMPONENTS", 3)
    assert canonical(vectors(), vectors()[:0], histories_of(histories()))[0].shape == (N_ITEMS + 1, 3)
    with pytest.raises(TslrecError, match=r"--model content-cca needs items of the same history.*choose another one"):
        canonical(vectors(), vectors()[:0], histories_of([[1], [2, 2]]))
    with pytest.raises(TslrecError, match="--model content-cca compares item embeddings; give them with --embeddings"):
        ContentCCA.maker(known_from([[1, 2]], N_ITEMS))


def test_without_titles_all_scores_are_0() -> None:
    alike = np.concatenate([np.zeros((1, 20)), np.ones((N_ITEMS, 20))]).astype(np.float32)
    known = known_from(histories(), N_ITEMS, embeddings=embeddings_of(alike))
    assert not all_scores(ContentCCA.maker(known)(CONSTANTS).scores(histories_of([[1, 2]]))).any()
