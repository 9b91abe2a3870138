from __future__ import annotations

import pytest
import torch

from tslrec_min.recommenders.models.backbone import Backbone
from tslrec_min.recommenders.models.bert4rec import BERT4Rec
from tslrec_min.recommenders.models.sasrec import SASRec

from .factories import batch, build, literal_transformer

TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [SASRec, BERT4Rec])
def test_transformers_are_their_literal_restatement(kind: type[Backbone]) -> None:
    model = build(kind)
    items, lengths = batch([3, 5, 1], [1, 2, 3, 4, 5], [9])
    found = model(items, lengths, TABLE)
    for row, length, states in zip(items, lengths, found, strict=True):
        wanted = literal_transformer(model.transformer, [TABLE[item] for item in row[:length]])
        torch.testing.assert_close(states[:length], torch.stack(wanted), atol=1e-5, rtol=1e-4)
