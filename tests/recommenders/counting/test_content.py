from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.load import ItemEmbeddings
from tslrec_min.recommenders.counting import content
from tslrec_min.recommenders.counting.content import Content, half_whitened

from ..factories import all_scores, histories_of, known_from

N_ITEMS = 40
ROWS = [[1, 2, 3], [], [4], [5, 6, 7, 8], [], [9, 1]]


def vectors(n_rows: int = N_ITEMS, width: int = 6, seed: int = 0) -> np.ndarray:
    """Row 0 is padding; the columns have different spreads and a mean."""
    rows = np.random.default_rng(seed).normal(size=(n_rows + 1, width)) * 2.0 ** np.arange(width) + 3
    rows[0] = 0
    return rows.astype(np.float32)


def embeddings_of(rows: np.ndarray, n_cold: int = 0) -> ItemEmbeddings:
    return ItemEmbeddings([f"i{item}" for item in range(len(rows) - 1)], rows, n_cold)


def test_half_whitened_components_vary_by_the_square_root_of_their_variances() -> None:
    known = vectors()
    found, cold = half_whitened(known, known[5:7])
    np.testing.assert_allclose(np.linalg.norm(found[1:], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(cold, found[5:7], rtol=1e-6)  # the same vector, the same components
    assert not found[0].any()
    centred = known[1:].astype(np.float64) - known[1:].mean(axis=0, dtype=np.float64)
    _, deviations, directions = np.linalg.svd(centred / np.sqrt(N_ITEMS), full_matrices=False)
    plain = centred @ directions.T / np.sqrt(deviations)
    np.testing.assert_allclose(plain.std(axis=0), np.sqrt(deviations), rtol=1e-9)
    cosines = plain @ plain.T / np.outer(*[np.linalg.norm(plain, axis=1)] * 2)
    np.testing.assert_allclose(found[1:] @ found[1:].T, cosines, atol=1e-5)


def test_vectors_that_were_tuned_to_be_compared_are_only_scaled() -> None:
    rows = vectors()
    known = known_from([[1, 2, 3]], N_ITEMS, embeddings=replace(embeddings_of(rows), compared=True))
    scorer = Content.maker(known)({"decay": 0.6})
    np.testing.assert_allclose(scorer.vectors[1:], rows[1:] / np.linalg.norm(rows[1:], axis=1)[:, None], rtol=1e-6)


def test_a_vector_at_the_mean_and_a_catalogue_of_one_vector_become_zero() -> None:
    known = np.array([[0, 0], [1, 1], [3, 3], [2, 2]], np.float32)  # the last one is the mean
    found, cold = half_whitened(known, known[3:])
    assert not found[3].any() and not cold.any() and np.isfinite(found).all()
    alike, cold = half_whitened(np.ones((5, 3), np.float32), np.zeros((0, 3), np.float32))
    assert not alike.any() and cold.shape == (0, alike.shape[1])


def test_there_are_at_most_so_many_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_COMPONENTS", 3)
    known = vectors()
    found, _ = half_whitened(known, known[:0])
    assert found.shape == (N_ITEMS + 1, 3)


@pytest.mark.parametrize("at_once", [1, 3, 1 << 16])
def test_states_are_weighted_means_and_empty_histories_have_none(monkeypatch: pytest.MonkeyPatch, at_once: int
                                                                 ) -> None:
    monkeypatch.setattr(content, "_ENTRIES_AT_ONCE", at_once)
    scorer = Content.maker(known_from([[1, 2]], N_ITEMS, embeddings=embeddings_of(vectors())))({"decay": 0.5})
    for rows in (ROWS, ROWS[:5], [[], []], []):  # empty ones at the end, alone, and nobody
        scores = scorer.scores(histories_of(rows))
        assert len(scores) == len(rows)
        for user, row in enumerate(rows):
            weights = 0.5 ** np.arange(len(row))[::-1].astype(float)
            expected = weights / weights.sum() @ scorer.vectors[row] if row else np.zeros(scorer.vectors.shape[1])
            np.testing.assert_allclose(scores.states[user], expected, atol=1e-6)
    assert all_scores(scorer.scores(histories_of([[4]])))[0].argmax() == 3  # nothing is nearer than the item itself


def test_cold_items_have_vectors_and_choose_no_component() -> None:
    rows = np.concatenate([vectors(), np.full((2, 6), 1e3, np.float32)])
    known = known_from([[1, 2]], N_ITEMS, n_cold=2, embeddings=embeddings_of(rows, 2))
    scorer = Content.maker(known)({"decay": 1.0})
    alone = Content.maker(known_from([[1, 2]], N_ITEMS, embeddings=embeddings_of(vectors())))({"decay": 1.0})
    np.testing.assert_array_equal(scorer.vectors, alone.vectors)
    assert scorer.cold is not None and alone.cold is None
    np.testing.assert_allclose(np.linalg.norm(scorer.cold.rows, axis=1), 1, rtol=1e-6)
    again = Content.restore(scorer.arrays(), scorer.constants)
    assert again.cold is not None
    np.testing.assert_array_equal(again.cold.rows, scorer.cold.rows)


def test_it_needs_item_embeddings() -> None:
    with pytest.raises(TslrecError, match="give them with --embeddings"):
        Content.maker(known_from([[1, 2]], N_ITEMS))
