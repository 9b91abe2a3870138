from __future__ import annotations

import numpy as np
import pytest
import torch

from tslrec_min.data.dataset import Evaluation
from tslrec_min.recommenders import scorer as scorers
from tslrec_min.recommenders.scorer import ColdColumns, rank

from .factories import PARTS, LastItem, all_scores, histories_of

N_ITEMS = 12
ROWS = [[1 + (user * 5 + step * 7) % N_ITEMS for step in range(1 + user % 6)] for user in range(23)]


@pytest.mark.parametrize("parts", [PARTS, ("dense",), ("bias",), ("sparse",)])
@pytest.mark.parametrize("threads", [1, 2])
def test_ranks_of_blocks_are_those_of_a_count(monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], threads: int
                                              ) -> None:
    monkeypatch.setattr(scorers, "BLOCK_USERS", 7)
    scorer, users = LastItem(N_ITEMS, 1, parts), np.array([3, 1, 22, *range(4, 20)])
    targets = np.array([1 + user % N_ITEMS for user in users])
    asked = Evaluation(histories_of(ROWS), users, targets)
    filtered, unfiltered = rank(scorer, asked, [asked.seen(N_ITEMS), None], device=torch.device("cpu"), threads=threads)
    matrix = all_scores(scorer.scores(asked.histories)).astype(np.float32)
    for row, (user, target) in enumerate(zip(users, targets, strict=True)):
        own = matrix[user, target - 1]
        for ranks, left_out in ((filtered, {*ROWS[user]}), (unfiltered, set())):
            others = [item for item in range(1, N_ITEMS + 1) if item != target and item not in left_out]
            near = np.isclose(matrix[user], own, atol=1e-6)
            sure = sum(matrix[user, item - 1] > own and not near[item - 1] for item in others)
            assert sure <= ranks.greater[row] <= sure + sum(near[item - 1] for item in others)
            assert ranks.n_candidates[row] == len(others) + 1


def test_ranks_without_targets_are_empty() -> None:
    nobody = Evaluation(histories_of([[1], [2]]), np.zeros(0, np.int64), np.zeros(0, np.int64))
    ranks, = rank(LastItem(5, 0), nobody, [None], device=torch.device("cpu"))
    assert len(ranks.greater) == len(ranks.equal) == len(ranks.n_candidates) == 0


@pytest.mark.parametrize("parts", [PARTS, ("dense",), ("bias",), ("sparse",)])
@pytest.mark.parametrize("bias", [None, np.array([5.0, -2.0], np.float32)])
def test_cold_columns_are_behind_those_of_the_catalogue(parts: tuple[str, ...], bias: np.ndarray | None) -> None:
    scorer = LastItem(N_ITEMS, 3, parts)
    scores = scorer.scores(histories_of(ROWS))
    rows = np.arange(2 * scorer.width, dtype=np.float32).reshape(2, scorer.width)
    columns = ColdColumns(rows, bias)
    cold = scores.states.astype(np.float64) @ rows.T + (0 if bias is None else bias)
    np.testing.assert_allclose(all_scores(columns.appended_to(scores)),
                               np.concatenate([all_scores(scores), cold], axis=1), rtol=1e-6)
    np.testing.assert_allclose(all_scores(columns.alone(scores)), cold, rtol=1e-6)
