"""The backbones: what all have in common, and each against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.recommenders.models import BACKBONES
from tslrec_min.recommenders.models.backbone import Backbone
from tslrec_min.recommenders.models.bert4rec import BERT4Rec
from tslrec_min.recommenders.models.gru4rec import GRU4Rec
from tslrec_min.recommenders.models.sasrec import SASRec
from tslrec_min.recommenders.models.transformer import Transformer

CONFIG = TrainConfig(width=16, blocks=2, heads=2, units=12, max_len=6, dropout=0.5)
TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


def build(kind: type[Backbone]) -> Backbone:
    torch.manual_seed(0)
    model = kind(CONFIG).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch(*rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    return (torch.tensor([row + [0] * (width - len(row)) for row in rows]), torch.tensor([len(row) for row in rows]))


@pytest.mark.parametrize("kind", BACKBONES.values())
def test_states_are_finite_and_blind_to_padding(kind: type[Backbone]) -> None:
    model = build(kind)
    rows = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6], [0] * 6]
    items, lengths = batch(*rows)
    lengths[-1] = 0
    together, final = model(items, lengths, TABLE), model.final_states(items, lengths, TABLE)
    assert together.shape == (5, 6, 16) and torch.isfinite(together).all() and torch.isfinite(final).all()
    for row, states, last in zip(rows[:-1], together, final, strict=False):
        torch.testing.assert_close(model(*batch(row), TABLE)[0], states[:len(row)])
        torch.testing.assert_close(model.final_states(*batch(row), TABLE)[0], last)


@pytest.mark.parametrize("kind", [kind for kind in BACKBONES.values() if kind.objective == "next"])
def test_next_item_models_are_causal_and_end_with_the_last_state(kind: type[Backbone]) -> None:
    model = build(kind)
    whole = model(*batch([1, 2, 3, 4]), TABLE)
    other = model(*batch([1, 2, 3, 9]), TABLE)
    torch.testing.assert_close(other[:, :3], whole[:, :3])
    assert not torch.allclose(other[:, 3], whole[:, 3])
    torch.testing.assert_close(model.final_states(*batch([1, 2, 3, 4]), TABLE), whole[:, -1])


@pytest.mark.parametrize("kind", BACKBONES.values())
def test_all_parameters_learn(kind: type[Backbone]) -> None:
    model, table = build(kind).train(), TABLE.clone().requires_grad_()
    hidden = len(table) if kind.objective == "cloze" else 5
    model(*batch([1, 2, hidden, 4], [3, 1]), table).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert table.grad[[1, 2, 4, 3]].any(dim=1).all() and not table.grad[0].any()


def literal_transformer(model: Transformer, vectors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The pre-norm blocks written out for one history, one head and one position at a time."""
    count, width = len(vectors), len(vectors[0])
    x = [vectors[p] + model.positions[p - count] for p in range(count)]
    for block in model.blocks:
        y = [block.query_key_value(block.attention_norm(x[p])) for p in range(count)]
        size, after = width // block.heads, []
        for p in range(count):
            seen, heads = range(p + 1) if model.causal else range(count), []
            for h in range(block.heads):
                q, k, v = ([state[of * width + h * size:of * width + (h + 1) * size] for state in y] for of in range(3))
                weights = torch.softmax(torch.stack([q[p] @ k[j] / math.sqrt(size) for j in seen]), dim=0)
                heads.append(sum(w * v[j] for w, j in zip(weights, seen, strict=True)))
            after.append(x[p] + block.attention_output(torch.cat(heads)))
        x = [state + block.feed_forward(block.feed_forward_norm(state)) for state in after]
    return [model.final_norm(state) for state in x]


@pytest.mark.parametrize("kind", [SASRec, BERT4Rec])
def test_transformers_are_their_literal_restatement(kind: type[Backbone]) -> None:
    model = build(kind)
    items, lengths = batch([3, 5, 1], [1, 2, 3, 4, 5], [9])
    found = model(items, lengths, TABLE)
    for row, length, states in zip(items, lengths, found, strict=True):
        wanted = literal_transformer(model.transformer, [TABLE[item] for item in row[:length]])
        torch.testing.assert_close(states[:length], torch.stack(wanted), atol=1e-5, rtol=1e-4)


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


def test_gru4rec_is_its_literal_restatement() -> None:
    model, items = build(GRU4Rec), [3, 5, 1]
    inputs = [TABLE[item] for item in items]
    for layer in range(2):
        w, u, b, c = (getattr(model.gru, f"{name}_l{layer}")
                      for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        state, outputs = torch.zeros(12), []
        for x in inputs:
            (reset_x, update_x, new_x), (reset_h, update_h, new_h) = (w @ x + b).chunk(3), (u @ state + c).chunk(3)
            reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
            state = (1 - update) * torch.tanh(new_x + reset * new_h) + update * state
            outputs.append(state)
        inputs = outputs
    wanted = torch.stack([model.output(state) for state in inputs])
    torch.testing.assert_close(model(*batch(items), TABLE)[0], wanted, atol=1e-5, rtol=1e-4)
