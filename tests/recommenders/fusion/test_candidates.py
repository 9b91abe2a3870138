from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.data.dataset import Evaluation
from tslrec_min.recommenders import scorer as scorers
from tslrec_min.recommenders.fusion import candidates
from tslrec_min.recommenders.fusion.candidates import candidates_of

from ..factories import PARTS, LastItem, all_scores, histories_of
from .test_standardised import plain

N_ITEMS = 40
ROWS = [[1 + (user * 5 + step * 7) % N_ITEMS for step in range(1 + user % 9)] for user in range(25)]
ASKED = Evaluation(histories_of(ROWS), np.arange(25), np.array([1 + (user * 11) % N_ITEMS for user in range(25)]))


@pytest.mark.parametrize("kinds", [[PARTS, PARTS], [("dense",), ("sparse",), ("bias",)], [("dense", "bias")]])
def test_they_are_the_best_unseen_items_of_all_parts(monkeypatch: pytest.MonkeyPatch, kinds: list[tuple[str, ...]]
                                                     ) -> None:
    monkeypatch.setattr(scorers, "BLOCK_USERS", 7)
    monkeypatch.setattr(candidates, "_BEST_ITEMS", 5 * len(kinds))
    monkeypatch.setattr(candidates, "_LEAST_BEST", 1)
    parts = [LastItem(N_ITEMS, 3 * place, kind) for place, kind in enumerate(kinds)]
    found = candidates_of(parts, ASKED, ASKED.seen(N_ITEMS), 1)
    matrices = [plain(all_scores(part.scores(ASKED.histories))) for part in parts]
    assert len(found.indptr) == len(ROWS) + 1 and found.scores.shape == (len(found.items), len(parts))
    proposed = 0
    for user, row in enumerate(ROWS):
        entries = slice(found.indptr[user], found.indptr[user + 1])
        items = found.items[entries].tolist()
        assert items == sorted({*items}) and {*items} & {*row} <= {ASKED.targets[user]}
        for matrix, part in zip(matrices, parts, strict=True):
            if not part.sparse:  # else the fifth may be tied with many others
                unseen = [item for item in range(1, N_ITEMS + 1) if item not in row or item == ASKED.targets[user]]
                assert {*sorted(unseen, key=lambda item: -matrix[user, item - 1])[:5]} <= {*items}
        assert 5 <= len(items) <= 5 * len(parts)
        for place, matrix in enumerate(matrices):
            np.testing.assert_allclose(found.scores[entries, place], matrix[user, np.array(items) - 1], atol=1e-4)
        target = found.target[user]
        assert (target == -1) == (ASKED.targets[user] not in items)
        assert target == -1 or (entries.start <= target < entries.stop and found.items[target] == ASKED.targets[user])
        proposed += target >= 0
    assert 0 < proposed < len(ROWS)


def test_a_small_catalogue_is_a_candidate_as_a_whole_and_a_target_that_was_seen_too() -> None:
    rows = [[1, 2], [1, 2, 3, 4, 5], [3]]
    asked = Evaluation(histories_of(rows), np.arange(3), np.array([3, 1, 5]))
    found = candidates_of([LastItem(5, 0), LastItem(5, 1)], asked, asked.seen(5), 1)
    assert np.diff(found.indptr).tolist() == [3, 1, 4] and found.items.tolist() == [3, 4, 5, 1, 1, 2, 4, 5]
    assert found.target.tolist() == [0, 3, 7]
