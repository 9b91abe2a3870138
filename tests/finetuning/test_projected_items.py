"""The bank of items' states and their projected vectors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tslrec_min.finetuning.head import PreferenceModel
from tslrec_min.finetuning.item_tokens import ItemTokens
from tslrec_min.finetuning.projected_items import ProjectedItems
from tslrec_min.finetuning.projection import Projection
from tslrec_min.llm.prompts import TokenPrompt

WIDTH = 6


class Reader:
    """Reads a prompt as the mean of its tokens' embeddings, times a factor."""

    def __init__(self) -> None:
        self.network: Any = nn.Linear(1, 1)  # a model without LoRA
        self.network.config, self.network.device = SimpleNamespace(hidden_size=WIDTH), torch.device("cpu")
        self.embedding, self.factor = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(0)), 1.0

    def pooled_states(self, prompts: list[TokenPrompt]) -> torch.Tensor:
        rows = [self.embedding[list(prompt.token_ids[prompt.pool_start:prompt.pool_stop])].mean(dim=0)
                for prompt in prompts]
        return torch.stack(rows) * self.factor


def prompts_of(count: int = 20) -> list[TokenPrompt]:
    random = np.random.default_rng(0)
    texts = [tuple(random.integers(1, 9, random.integers(1, 6)).tolist()) for _ in range(count)]
    return [TokenPrompt((0, *text), 1, 1 + len(text)) for text in texts]


@pytest.mark.parametrize("batch_tokens", [1, 12, 1000])
def test_the_bank_has_every_item_s_state_as_last_read(batch_tokens: int) -> None:
    reader, prompts = Reader(), prompts_of()
    items = ProjectedItems(PreferenceModel(reader, 3), ItemTokens.of(prompts), 4)
    for factor in (1.0, 2.0):
        reader.factor = factor
        items.read(prompts, batch_tokens)
        assert torch.equal(items.bank[1:], reader.pooled_states(prompts)) and not items.bank[0].any()
    assert "bank" in items.state_dict()  # a resumed training has it


def test_vectors_are_those_that_the_stored_projection_gives() -> None:
    reader, prompts = Reader(), prompts_of()
    items = ProjectedItems(PreferenceModel(reader, 3), ItemTokens.of(prompts), 4)
    items.read(prompts, 100)
    items.start_projection()
    with torch.no_grad():
        nn.init.normal_(items.tokens, generator=torch.Generator().manual_seed(1))
        table = items.table(items.bank)
    stored = {name: tensor.numpy() for name, tensor in items.projection().items()}
    projection = Projection(stored["weight"], stored["bias"], stored["token_ids"], stored["token_weights"],
                            stored["tokens"])
    assert len(items.tokens) and table[0].eq(0).all()
    assert table[1:].numpy() == pytest.approx(projection.vectors(items.bank[1:].numpy(), prompts), abs=1e-5)


def test_dropout_leaves_out_tokens_and_keeps_their_mean() -> None:
    reader, prompts = Reader(), prompts_of()
    items = ProjectedItems(PreferenceModel(reader, 3), ItemTokens.of(prompts), 4)
    items.read(prompts, 100)
    items.start_projection()
    with torch.no_grad():
        nn.init.normal_(items.tokens, std=0.01, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(0)
        dropped = torch.stack([items.table(items.bank, 0.5) for _ in range(400)])
        whole = items.table(items.bank)
    assert not torch.equal(dropped[0], whole)
    assert (dropped.mean(dim=0) - whole).abs().max() < 0.2 * (dropped[0] - whole).abs().max()
