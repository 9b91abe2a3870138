from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.ranking.scores import Scores
from tslrec_min.recommenders.fusion import standardised
from tslrec_min.recommenders.fusion.standardised import Standardised, values_at

from ..factories import PARTS, LastItem, all_scores, histories_of

N_ITEMS = 11
ROWS = [[user % N_ITEMS + 1, (user * 3) % N_ITEMS + 1] for user in range(20)]
SOME = st.lists(st.sampled_from(PARTS), unique=True, min_size=1)


def plain(matrix: np.ndarray) -> np.ndarray:
    deviations = matrix.std(axis=1, keepdims=True)
    return np.where(deviations > 0, (matrix - matrix.mean(axis=1, keepdims=True)) / np.maximum(deviations, 1e-30), 0)


@settings(deadline=None)
@given(SOME, st.integers(0, 99), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([0.0, 10.0]))
def test_scores_have_mean_0_and_deviation_1_over_all_items(parts: list[str], seed: int, size: float, shift: float
                                                           ) -> None:
    scorer = LastItem(N_ITEMS, seed, parts, size=size, shift=shift)
    scores = scorer.scores(histories_of(ROWS))
    expected = all_scores(scores)
    found = Standardised(scorer).of(scores)
    same = expected.std(axis=1) < 1e-12  # no sparse item
    np.testing.assert_allclose(all_scores(found)[~same], plain(expected)[~same], atol=2e-4)
    assert {found.states.dtype, found.item_table.dtype} == {np.dtype(np.float32)} and found.bias is None


def test_users_whose_scores_are_all_the_same_get_0() -> None:
    alike = LastItem(N_ITEMS, 0, ("bias",))
    assert alike.bias is not None
    for constant in (0.0, 0.1, -3e7):
        alike.bias[:] = constant
        assert not all_scores(Standardised(alike).of(alike.scores(histories_of(ROWS)))).any()
    without = LastItem(N_ITEMS, 0, ("dense", "sparse"))
    found = Standardised(without).of(without.scores(histories_of([[], [1], []])))
    assert not all_scores(found)[[0, 2]].any() and all_scores(found)[1].std() == pytest.approx(1, abs=1e-5)


def test_one_item_and_nobody() -> None:
    for parts in (PARTS, ("dense",), ("sparse",)):
        scorer = LastItem(1, 0, parts)
        assert not all_scores(Standardised(scorer).of(scorer.scores(histories_of([[1], []])))).any()
        assert len(Standardised(scorer).of(scorer.scores(histories_of([])))) == 0


def test_what_the_padding_holds_has_no_effect() -> None:
    scorer = LastItem(N_ITEMS, 2)
    expected = all_scores(Standardised(scorer).of(scorer.scores(histories_of(ROWS))))
    assert scorer.bias is not None
    scorer.table[0], scorer.bias[0] = np.nan, np.inf
    np.testing.assert_array_equal(all_scores(Standardised(scorer).of(scorer.scores(histories_of(ROWS)))), expected)


@pytest.mark.parametrize("parts", [PARTS, ("dense",), ("dense", "sparse")])
def test_cold_items_are_on_the_same_scale(parts: tuple[str, ...]) -> None:
    scorer = LastItem(N_ITEMS, 4, parts, shift=2.0, n_cold=3)
    scores = scorer.scores(histories_of(ROWS))
    assert scorer.cold is not None
    raw, matrix = all_scores(scorer.cold.appended_to(scores))[:, N_ITEMS:], all_scores(scores)
    found = Standardised(scorer).of(scores).states @ Standardised(scorer).cold_rows(3).T
    expected = (raw - matrix.mean(axis=1, keepdims=True)) / matrix.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    without = Standardised(LastItem(N_ITEMS, 4, parts)).cold_rows(3)
    assert without.shape == (3, scorer.width + 2) and not without.any()


@settings(deadline=None)
@given(SOME, st.integers(0, 99), st.sampled_from([3, 1 << 18]))
def test_values_of_pairs_are_those_of_the_matrix(parts: list[str], seed: int, at_once: int) -> None:
    scores = LastItem(N_ITEMS, seed, parts).scores(histories_of(ROWS))
    rows, items = np.nonzero(np.random.default_rng(seed).random((len(ROWS), N_ITEMS)) < 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standardised, "_ENTRIES_AT_ONCE", at_once)
        np.testing.assert_allclose(values_at(scores, rows, items + 1), all_scores(scores)[rows, items], atol=1e-5)


def test_values_without_pairs_or_parts() -> None:
    nothing = Scores(np.zeros((2, 0), np.float32), np.zeros((4, 0), np.float32))
    assert values_at(nothing, np.array([0, 1]), np.array([3, 1])).tolist() == [0, 0]
    assert len(values_at(nothing, np.zeros(0, int), np.zeros(0, int))) == 0
