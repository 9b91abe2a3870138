from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.fusion.scorer import FusedScorer, Weights
from tslrec_min.recommenders.scorer import Scorer

from ..factories import PARTS, LastItem, all_scores, histories_of
from .test_standardised import N_ITEMS, ROWS, plain

OCCURRENCES = np.array([0, 0, 1, 2, 5, 9, 30, 100, 1000, 3, 3, 7])


def weights_of(n_parts: int, seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)
    return Weights(random.normal(size=n_parts), random.normal(size=n_parts) / 5, float(random.normal()))


def plain_sum(parts: Sequence[Scorer], weights: Weights, rows: list[list[int]], occurrences: np.ndarray) -> np.ndarray:
    """Float64 [B, I], from the formula."""
    frequency = np.log1p(occurrences[1:])
    total = np.tile(weights.frequency * frequency, (len(rows), 1))
    for part, constant, by_frequency in zip(parts, weights.constant, weights.by_frequency, strict=True):
        total += (constant + by_frequency * frequency) * plain(all_scores(part.scores(histories_of(rows))))
    return total


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.sampled_from(PARTS), unique=True, min_size=1), min_size=1, max_size=4), st.integers(0, 99))
def test_the_sum_is_that_of_the_formula(kinds: list[list[str]], seed: int) -> None:
    parts = [LastItem(N_ITEMS, seed + place, kind, size=10.0 ** place, shift=place) for place, kind in enumerate(kinds)]
    weights = weights_of(len(parts), seed)
    scores = FusedScorer(parts, weights, OCCURRENCES).scores(histories_of(ROWS))
    np.testing.assert_allclose(all_scores(scores), plain_sum(parts, weights, ROWS, OCCURRENCES), atol=1e-3, rtol=1e-4)
    assert (scores.sparse is None) == all("sparse" not in kind for kind in kinds)
    arrays = scores.states, scores.item_table, scores.bias
    assert all(array is not None and array.dtype == np.float32 for array in arrays)


def test_a_sum_of_sums_is_a_sum() -> None:
    parts = [LastItem(N_ITEMS, seed) for seed in range(3)]
    inner, outer = weights_of(2, 1), weights_of(2, 2)
    first = FusedScorer(parts[:2], inner, OCCURRENCES)
    found = FusedScorer([first, parts[2]], outer, OCCURRENCES).scores(histories_of(ROWS))
    np.testing.assert_allclose(all_scores(found), plain_sum([first, parts[2]], outer, ROWS, OCCURRENCES), atol=1e-4)


def test_blocks_users_without_items_and_nobody() -> None:
    parts = [LastItem(N_ITEMS, 0), LastItem(N_ITEMS, 1, ("dense",))]
    scorer = FusedScorer(parts, weights_of(2), OCCURRENCES)
    whole = all_scores(scorer.scores(histories_of(ROWS)))
    for start in range(0, len(ROWS), 7):
        np.testing.assert_allclose(all_scores(scorer.scores(histories_of(ROWS[start:start + 7]))),
                                   whole[start:start + 7], atol=1e-6)
    empty = all_scores(scorer.scores(histories_of([[], [1]])))
    np.testing.assert_allclose(empty, plain_sum(parts, weights_of(2), [[], [1]], OCCURRENCES), atol=1e-4)
    assert len(scorer.scores(histories_of([]))) == 0


def test_cold_items_are_as_items_that_training_lacks_and_at_the_mean_of_a_part_that_can_not_score_them() -> None:
    able, unable = LastItem(N_ITEMS, 0, ("dense", "sparse"), n_cold=2, shift=1.0), LastItem(N_ITEMS, 1, ("dense",))
    weights = weights_of(2)
    scorer = FusedScorer([able, unable], weights, OCCURRENCES, n_cold=2)
    scores, raw = scorer.scores(histories_of(ROWS)), able.scores(histories_of(ROWS))
    assert scorer.cold is not None and able.cold is not None
    matrix = all_scores(raw)
    cold = all_scores(able.cold.appended_to(raw))[:, N_ITEMS:]
    expected = weights.constant[0] * (cold - matrix.mean(axis=1, keepdims=True)) / matrix.std(axis=1, keepdims=True)
    together = all_scores(scorer.cold.appended_to(scores))
    np.testing.assert_allclose(together[:, N_ITEMS:], expected, atol=1e-4)
    np.testing.assert_allclose(together[:, :N_ITEMS], all_scores(scores), atol=1e-6)
    np.testing.assert_allclose(all_scores(scorer.cold.alone(scores)), expected, atol=1e-4)
    assert FusedScorer([unable, unable], weights, OCCURRENCES, n_cold=2).cold is None
    assert FusedScorer([able, unable], weights, OCCURRENCES).cold is None


def test_numbers_that_do_not_fit_are_refused() -> None:
    parts = [LastItem(N_ITEMS, 0), LastItem(N_ITEMS, 1)]
    for given_parts, weights, occurrences in (
            (parts, weights_of(3), OCCURRENCES), (parts, weights_of(2), OCCURRENCES[1:]),
            ([parts[0], LastItem(N_ITEMS + 1, 1)], weights_of(2), OCCURRENCES)):
        with pytest.raises(TslrecError, match="expected a weight for each part, and as many rows in all"):
            FusedScorer(given_parts, weights, occurrences)
