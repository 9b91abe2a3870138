"""The next title's loss in two levels, against its definition place by place in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.finetuning.next_titles import ItemGroups, NextTitles, next_title_losses
from tslrec_min.finetuning.samples import Samples
from tslrec_min.llm.prompts import TokenPrompt

N_ITEMS, K, WIDTH = 14, 4, 5


def samples_of(histories: list[list[int]], title_tokens: int = 2) -> Samples:
    """Prompts of 3 tokens and then some for every title."""
    prompts = []
    for items in histories:
        stops = tuple(3 + title_tokens * (place + 1) for place in range(len(items)))
        prompts.append(TokenPrompt((1,) * (stops[-1] + 1), 3, stops[-1], stops))
    return Samples(prompts, torch.zeros(len(histories), K), shown=tuple(np.array(items) for items in histories))


def tensors_of(seed: int, places: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    outputs, contexts, table = (torch.randn(*shape, generator=random, dtype=torch.float64)
                                for shape in ((places, K), (places, WIDTH), (N_ITEMS + 1, WIDTH)))
    contexts, table = (torch.nn.functional.normalize(part, dim=1) for part in (contexts, table))
    table[0] = 0
    return [outputs, contexts, table, torch.tensor(6.0, dtype=torch.float64)]


def reference(histories: list[list[int]], labels: np.ndarray, outputs: torch.Tensor, contexts: torch.Tensor,
              table: torch.Tensor, sharpness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition."""
    of_category, of_item, place = [], [], 0
    for items in histories:
        for t in range(1, len(items)):
            target = items[t]
            candidates = [item for item in range(1, N_ITEMS + 1) if labels[item] == labels[target]
                          and (item not in items[:t] or item == target)]
            scores = torch.stack([sharpness * contexts[place] @ table[item] for item in candidates])
            of_item.append(scores.exp().sum().log() - scores[candidates.index(target)])
            of_category.append(outputs[place].exp().sum().log() - outputs[place, labels[target]])
            place += 1
    return torch.stack(of_category), torch.stack(of_item)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=7), min_size=1, max_size=5).filter(
    lambda histories: any(len(items) > 1 for items in histories)), st.integers(0, 99))
def test_losses_and_gradients_are_those_of_the_definition(histories: list[list[int]], seed: int) -> None:
    labels = np.concatenate([[-1], np.random.default_rng(seed).integers(0, K, N_ITEMS)])
    titles, groups = NextTitles.of(samples_of(histories)), ItemGroups.of(labels, K)
    given_ = tensors_of(seed, len(titles))
    found, wanted = [], []
    for dtype, results in ((torch.float32, found), (torch.float64, wanted)):
        tensors = [part.to(dtype).requires_grad_() for part in given_]
        both = (next_title_losses(titles, groups, *tensors) if dtype == torch.float32
                else reference(histories, labels, *tensors))
        weights = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, (2, len(titles)))).to(dtype)
        (torch.stack(both) * weights).sum().backward()
        results += [*both, *(part.grad for part in tensors)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


def test_places_are_the_ends_of_titles_that_another_one_follows() -> None:
    titles = NextTitles.of(samples_of([[4, 5, 4], [7], [1, 2]]))
    assert titles.stops == [(5, 7, 9), (5,), (5, 7)]
    assert titles.rows.tolist() == [0, 1, 4] and titles.whole_rows.tolist() == [2, 3, 5]
    assert titles.targets.tolist() == [5, 4, 2] and titles.weights.tolist() == [0.5, 0.5, 1]
    assert [shown.tolist() for shown in titles.shown] == [[4], [4, 5], [1]]


def test_a_first_title_without_a_token_of_its_own_is_no_place() -> None:
    samples = Samples([TokenPrompt((1,) * 9, 3, 8, (3, 6, 8))], torch.zeros(1, K), shown=(np.array([4, 5, 6]),))
    titles = NextTitles.of(samples)
    assert titles.stops == [(6, 8)] and titles.targets.tolist() == [6] and titles.weights.tolist() == [1]


def test_an_item_alone_in_its_category_costs_nothing_beyond_it() -> None:
    labels = np.concatenate([[-1, 3], np.arange(N_ITEMS - 1) % 3])  # item 1 is alone; category 1 has 3, 6, ...
    titles, groups = NextTitles.of(samples_of([[2, 1]])), ItemGroups.of(labels, K)
    of_category, of_item = next_title_losses(titles, groups, *tensors_of(0, 1))
    assert of_item.item() == 0 and of_category.item() > 0
    assert groups.of_category(3).tolist() == [1] and groups.of_category(1).tolist() == [3, 6, 9, 12]


def test_without_vectors_scores_are_popularity_within_the_category() -> None:
    labels = np.concatenate([[-1], np.arange(N_ITEMS) % 2])  # odd items are category 0
    shares = np.arange(N_ITEMS + 1) / 100 + 0.01
    titles = NextTitles.of(samples_of([[3, 4, 1, 3]]))
    _, of_item = next_title_losses(titles, ItemGroups.of(labels, 2), torch.zeros(3, 2), torch.ones(3, 1),
                                   torch.from_numpy(np.log(shares))[:, None].float(), torch.ones(()))
    even, odd = shares[2::2].sum(), shares[1::2].sum()
    expected = [shares[4] / even, shares[1] / (odd - shares[3]), shares[3] / (odd - shares[1])]  # 3 comes again
    assert of_item.tolist() == pytest.approx(-np.log(expected), rel=1e-5)


def test_no_places_give_no_losses() -> None:
    titles = NextTitles.of(samples_of([[1], [2]]))
    labels = np.concatenate([[-1], np.zeros(N_ITEMS, np.int64)])
    parts = next_title_losses(titles, ItemGroups.of(labels, K), *tensors_of(0, 0))
    assert [part.shape for part in parts] == [(0,), (0,)]
