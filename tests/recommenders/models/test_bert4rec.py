from __future__ import annotations

import pytest
import torch

from tslrec_min.recommenders.models.bert4rec import BERT4Rec

from .factories import batch, build, literal_transformer

TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("history", [[1], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])
def test_bert4rec_asks_with_a_mask_after_the_history(history: list[int]) -> None:
    model = build(BERT4Rec)
    asked = [TABLE[item] for item in history[-5:]] + [model.mask]  # max_len is 6: one place is the mask's
    wanted = literal_transformer(model.transformer, asked)[-1]
    torch.testing.assert_close(model.final_states(*batch(history, [7] * 6), TABLE)[0], wanted, atol=1e-5, rtol=1e-4)


def test_bert4rec_sees_both_sides_but_not_what_is_hidden() -> None:
    model, mask = build(BERT4Rec), len(TABLE)
    before = model(*batch([1, 2, mask, 4]), TABLE)[0, 2]
    assert not torch.allclose(model(*batch([1, 2, mask, 5]), TABLE)[0, 2], before)
    other = TABLE.clone()
    other[3] += 1  # an item that is not shown
    torch.testing.assert_close(model(*batch([1, 2, mask, 4]), other)[0, 2], before)
