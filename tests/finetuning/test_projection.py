"""The projection of a tuned model's states."""

from __future__ import annotations

import numpy as np
import pytest

from tslrec_min.finetuning.item_tokens import ItemTokens
from tslrec_min.finetuning.projection import Projection
from tslrec_min.llm.prompts import TokenPrompt
from tslrec_min.recommenders.counting.content import half_whitened

NONE = ItemTokens.of([])


def prompts(count: int) -> list[TokenPrompt]:
    return [TokenPrompt((1, 2), 0, 2)] * count


def test_it_starts_as_the_vectors_of_content() -> None:
    states = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32) * [9, 5, 3, 1, 1, 0.1] + 4
    start = Projection.start(states.astype(np.float32), 192, NONE)
    known = np.concatenate([np.zeros((1, 6), np.float32), states]).astype(np.float32)
    expected, _ = half_whitened(known, known[:0])
    assert start.vectors(states, prompts(30)) == pytest.approx(expected[1:], abs=1e-5)
    projected = states @ start.weight.T + start.bias
    assert (projected ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)


def test_it_has_at_most_as_many_dimensions_as_there_are_components() -> None:
    states = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    assert Projection.start(states, 192, NONE).weight.shape == (3, 6)
    assert Projection.start(states, 2, NONE).weight.shape == (2, 6)
    alike = np.ones((4, 6), np.float32)
    assert np.isfinite(Projection.start(alike, 5, NONE).vectors(alike, prompts(4))).all()


def test_tokens_add_their_vectors_by_how_rare_they_are() -> None:
    texts = [(9, 5, 6), (9, 5, 5, 7), (9, 5, 8), (9, 6), (9, 8)]
    shown = [TokenPrompt((1, *text, 2), 1, 1 + len(text)) for text in texts]
    tokens = ItemTokens.of(shown)
    assert tokens.ids.tolist() == [5]  # 9 is everywhere; the others are in fewer than three items
    assert tokens.weights == pytest.approx(np.log(5 / 3) / np.log(5))
    made = Projection(np.eye(2), np.array([1.0, 0.0]), tokens.ids, tokens.weights, np.array([[0.0, 4.0]]))
    found = made.vectors(np.zeros((5, 2)), shown)
    with_token = np.array([1, 4 * tokens.weights[0]]) / np.hypot(1, 4 * tokens.weights[0])
    assert found == pytest.approx(np.array([with_token] * 3 + [[1, 0]] * 2), abs=1e-6)
