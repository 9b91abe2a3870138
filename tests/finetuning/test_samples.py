"""Samples: who is learned from and held out, windows, instances, and nothing of validation or test items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.categories.artifact import Categories
from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import FinetuneConfig
from tslrec_min.data.dataset import Dataset, Histories
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.samples import Samples, SampleSplit, make_samples, random_windows, window_means
from tslrec_min.llm.gguf.tokenizer import TextTokenizer
from tslrec_min.llm.prompts import template_of

from ..factories import N_ITEMS
from ..tiny_llm import make_tokenizer

K = 4
CATEGORIES = Categories(np.array([-1, *(item % K for item in range(N_ITEMS))]), np.zeros((K, 2)))
TOKENIZER = TextTokenizer(make_tokenizer())
VARIANTS = [{}, {"users": 9}, {"users": 9, "select": "coverage"}, {"window": "random"},
            {"level": "instance", "users": 5}, {"target": "history"}, {"window": "random", "target": "history"},
            {"virtual_users": 0.5}, {"virtual_users": 1.0, "window": "random", "users": 9},
            {"virtual_users": 1.0, "virtual_target": "windows"}, {"virtual_users": 1.0, "virtual_target": "category"}]


def split_of(dataset: Dataset, **changes: object) -> SampleSplit:
    config = FinetuneConfig(**{"max_history": 5, **changes})
    return make_samples(dataset, CATEGORIES, TOKENIZER, template_of(config), config, context_length=2048)


def shown(dataset: Dataset, samples: Samples) -> list[list[int]]:
    """Read the items of every prompt back out of its tokens."""
    item_of = {title: item for item, title in enumerate(dataset.titles, 1)}
    texts = [TOKENIZER.tokenizer.decode(list(prompt.token_ids)) for prompt in samples.prompts]
    return [[item_of[line.removeprefix("- ")] for line in text.split("\n")[1:-1]] for text in texts]


def equal(left: Samples, right: Samples) -> bool:
    return left.prompts == right.prompts and torch.equal(left.preferences, right.preferences)


def mixture(items: list[int]) -> list[float]:
    return np.bincount(CATEGORIES.labels[items], minlength=K) / len(items)


def test_users_show_their_most_recent_training_items(dataset: Dataset) -> None:
    split = split_of(dataset)
    assert (len(split.training), len(split.held_out)) == (54, 6)
    histories = [dataset.training().of(user).tolist() for user in range(dataset.n_users)]
    of_prompts = shown(dataset, split.training) + shown(dataset, split.held_out)
    assert sorted(of_prompts) == sorted(history[-5:] for history in histories)
    for items, preference in zip(shown(dataset, split.training), split.training.preferences, strict=True):
        np.testing.assert_allclose(preference, mixture(items), atol=1e-6)
    assert split.training.epoch(3) is split.training and split.held_out_instances is None


@pytest.mark.parametrize("changes", VARIANTS)
def test_held_out_users_are_the_same_whatever_is_learned_from(dataset: Dataset, changes: dict[str, object]) -> None:
    held_out, expected = split_of(dataset, **changes).held_out, split_of(dataset).held_out
    assert held_out.prompts == expected.prompts
    assert torch.equal(held_out.preferences, expected.preferences) == (changes.get("target") != "history")
    assert held_out.prompts != split_of(dataset, **changes, seed=1).held_out.prompts


@pytest.mark.parametrize("changes", VARIANTS)
def test_validation_and_test_items_change_nothing(dataset: Dataset, changes: dict[str, object]) -> None:
    items = dataset.histories.items.copy()
    for end in dataset.histories.indptr[1:]:
        items[end - 2:end] = items[end - 2:end][::-1] % N_ITEMS + 1
    other = replace(dataset, histories=Histories(dataset.histories.indptr, items))
    assert other.split_hash() != dataset.split_hash()
    one, two = split_of(dataset, **changes), split_of(other, **changes)
    assert equal(one.training, two.training) and equal(one.held_out, two.held_out) and one.report == two.report
    assert equal(one.training.epoch(2), two.training.epoch(2))


@pytest.mark.parametrize("changes", VARIANTS)
def test_nothing_from_the_first_cut_on_changes_anything(dataset: Dataset, changes: dict[str, object]) -> None:
    times = np.concatenate([np.arange(length) + user % 5 for user, length in enumerate(
        np.diff(dataset.histories.indptr))])  # training histories of 6 to 10 items
    timed = replace(dataset, timestamps=times, cuts=(10, 13))
    late = np.where(times >= 10, dataset.histories.items[::-1], dataset.histories.items)
    other = replace(timed, histories=Histories(dataset.histories.indptr, late))
    assert other.split_hash() != timed.split_hash()
    one, two = split_of(timed, **changes), split_of(other, **changes)
    assert equal(one.training, two.training) and equal(one.held_out, two.held_out) and one.report == two.report
    assert equal(one.training.epoch(2), two.training.epoch(2))


def test_random_windows_are_drawn_anew_and_preferences_follow(dataset: Dataset) -> None:
    split, again = split_of(dataset, window="random"), split_of(dataset, window="random")
    histories = {tuple(dataset.training().of(user)) for user in range(dataset.n_users)}
    epochs = [split.training.epoch(number) for number in range(4)]
    for number, samples in enumerate(epochs):
        assert equal(samples, again.training.epoch(number)) and len(samples) == 54
        for items, preference in zip(shown(dataset, samples), samples.preferences, strict=True):
            assert len(items) == 5
            assert any(items == list(whole[at:at + 5]) for whole in histories for at in range(len(whole) - 4))
            np.testing.assert_allclose(preference, mixture(items), atol=1e-6)
    assert equal(epochs[2], epochs[1].epoch(2))
    assert not any(equal(epochs[0], other) for other in epochs[1:])
    assert not equal(epochs[0], split_of(dataset, window="random", seed=1).training)


def test_whole_history_stays_the_target_of_random_windows(dataset: Dataset) -> None:
    split = split_of(dataset, window="random", target="history")
    assert torch.equal(split.training.preferences, split.training.epoch(1).preferences)
    assert split.training.prompts != split.training.epoch(1).prompts


@pytest.mark.parametrize("window", ["recent", "random"])
def test_virtual_users_are_items_as_embed_shows_them(dataset: Dataset, window: str) -> None:
    whole, half, without = (split_of(dataset, window=window, virtual_users=share, virtual_target="category")
                            for share in (1.0, 0.5, 0.0))
    known = np.unique(dataset.training().items)
    for split, count in ((whole, len(known)), (half, round(0.5 * len(known)))):
        for number in range(3):
            samples = split.training.epoch(number)
            users = samples.take(np.arange(54))
            assert equal(users, without.training.epoch(number)) and len(samples) == 54 + count == 54 + samples.n_virtual
            assert torch.equal(samples.mean_preference, without.training.epoch(number).mean_preference)
            items = [item for item, in shown(dataset, samples)[54:]]
            assert len(set(items)) == count and set(items) <= set(known.tolist())
            labels = CATEGORIES.labels[items]
            assert torch.equal(samples.preferences[54:], torch.eye(K)[labels])
    assert whole.report["virtual_users"] == len(known) and without.report["virtual_users"] == 0
    drawn = [tuple(shown(dataset, half.training.epoch(number))[54:][0]) for number in range(5)]
    assert len(set(drawn)) > 1  # others in every epoch


def test_virtual_users_stand_for_the_users_who_have_the_item(dataset: Dataset) -> None:
    split = split_of(dataset, virtual_users=1.0, users=9)
    held_out, others = np.split(np.random.default_rng(FinetuneConfig.seed).permutation(60), [6])
    training = dataset.training()
    assert shown(dataset, split.held_out) == [training.of(user)[-5:].tolist() for user in held_out]
    learned_from = [training.of(user).tolist() for user in others]  # all, not the nine whose titles are read alone
    items = [item for item, in shown(dataset, split.training)[9:]]
    assert sorted(items) == sorted({item for history in learned_from for item in history})
    for item, preference in zip(items, split.training.preferences[9:].numpy(), strict=True):
        of_users = [mixture(history) for history in learned_from for other in history if other == item]
        np.testing.assert_allclose(preference, np.mean(of_users, axis=0), atol=1e-6)


def test_virtual_users_stand_for_the_windows_that_show_the_item(dataset: Dataset) -> None:
    split = split_of(dataset, virtual_users=1.0, virtual_target="windows")
    held_out, _ = np.split(np.random.default_rng(FinetuneConfig.seed).permutation(60), [6])
    learned_from = [dataset.training().of(user).tolist() for user in range(60) if user not in held_out]
    places = [(history, place) for history in learned_from for place in range(len(history))]
    items = [item for item, in shown(dataset, split.training)[54:]]
    for item, preference in zip(items, split.training.preferences[54:].numpy(), strict=True):
        of_places = [np.mean([mixture(history[at:at + 5]) for at in range(len(history) - 4) if at <= place < at + 5],
                             axis=0) for history, place in places if history[place] == item]
        np.testing.assert_allclose(preference, np.mean(of_places, axis=0), atol=1e-6)


def test_a_window_longer_than_the_rows_is_all_of_them() -> None:
    rows = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    np.testing.assert_allclose(window_means(rows, 9), np.tile(rows.mean(axis=0), (4, 1)), atol=1e-6)
    np.testing.assert_allclose(window_means(rows, 1), rows, atol=1e-6)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 6), st.integers(0, 5))
def test_windows_are_runs_of_the_history(lengths: list[int], length: int, epoch: int) -> None:
    histories = Histories(np.cumsum([0, *lengths]), np.arange(1, sum(lengths) + 1, dtype=np.int32))
    windows = random_windows(histories, length, seed=3, epoch=epoch)
    for user, whole in enumerate(lengths):
        window = windows.of(user)
        assert len(window) == min(whole, length) and set(window) <= set(histories.of(user))
        assert np.all(np.diff(window) == 1)


def test_every_window_is_drawn_equally_often() -> None:
    histories = Histories(np.arange(0, 40_001, 4), np.tile(np.arange(1, 5, dtype=np.int32), 10_000))
    first = random_windows(histories, 2, seed=0, epoch=0).items[::2]
    assert np.abs(np.bincount(first)[1:] / 10_000 - 1 / 3).max() < 0.02  # standard deviation .005


def test_instances_show_what_was_before_and_aim_at_the_next_category(dataset: Dataset) -> None:
    by_user, split = split_of(dataset, users=5), split_of(dataset, level="instance", users=5)
    assert len(split.training) == 5 * 11 and split.report["training_users"] == 5
    assert split.report["training_samples"] == 55 and split.report["training_tokens"] == split.training.tokens
    after = {tuple(history[max(0, place - 5):place]): history[place]
             for user in range(dataset.n_users) for history in [dataset.training().of(user).tolist()]
             for place in range(1, len(history))}  # in cycles, what comes next is known
    for items, target in zip(shown(dataset, split.training), split.training.preferences, strict=True):
        assert target.tolist() == np.eye(K)[CATEGORIES.labels[after[tuple(items)]]].tolist()
    ends = [items for items in shown(dataset, split.training) if len(items) == 5][6::7]
    assert [items[1:] for items in ends] == [items[:-1] for items in shown(dataset, by_user.training)]
    assert len(split.held_out_instances) == 6
    for items, last in zip(shown(dataset, split.held_out_instances), shown(dataset, split.held_out), strict=True):
        assert items[1:] == last[:-1]


def test_instances_have_no_windows_and_no_virtual_users() -> None:
    for name, value in (("virtual_users", 0.5), ("window", "random")):
        with pytest.raises(TslrecError, match=f"{name} = {value} is only used with objective = categories or two-level "
                                              "and level = user; got level = instance"):
            from_mapping(FinetuneConfig, {"level": "instance", name: value}, "finetune")


def test_report_of_coverage(dataset: Dataset) -> None:
    everyone, chosen, drawn = (split_of(dataset, **changes).report for changes in (
        {}, {"users": 8, "select": "coverage"}, {"users": 3}))
    assert everyone["selection"] == "all" and everyone["items_covered"] == 1 and everyone["training_users"] == 54
    assert chosen["selection"] == "coverage" and chosen["items_covered"] == chosen["categories_covered"] == 1
    assert drawn["selection"] == "random" and drawn["training_users"] == 3 and drawn["items_covered"] < 1
    assert split_of(dataset, users=54, select="coverage").report == everyone


def test_cut_titles_are_counted(dataset: Dataset) -> None:
    assert split_of(dataset).report["titles_cut"] == 0
    report = split_of(dataset, max_title_tokens=1).report
    assert report["titles_cut"] == N_ITEMS and 0 < report["titles_cut_in_prompts"] <= N_ITEMS


def test_ids_and_fields_in_prompts(dataset: Dataset) -> None:
    def first(changes: dict[str, object]) -> str:
        described = replace(dataset, fields={"year": [str(1900 + item) for item in range(N_ITEMS)]})
        return TOKENIZER.tokenizer.decode(list(split_of(described, **changes).training.prompts[0].token_ids))

    titles, ids = (first(changes).split("\n")[1:-1] for changes in ({}, {"text": "id"}))
    dated = first({"text": "fields", "text_fields": "year"}).split("\n")[1:-1]
    places = [list(dataset.titles).index(title.removeprefix("- ")) for title in titles]
    assert ids == [f"- item {dataset.item_ids[place]}" for place in places]
    assert dated == [f"{title} (year: {1900 + place})" for title, place in zip(titles, places, strict=True)]


def test_what_can_not_be_sampled_is_refused(dataset: Dataset) -> None:
    config = FinetuneConfig()
    with pytest.raises(TslrecError, match="lower --max-history"):
        make_samples(dataset, CATEGORIES, TOKENIZER, template_of(config), config, context_length=40)
    short = Histories(np.arange(6), np.ones(5, np.int32))
    with pytest.raises(TslrecError, match="no user has two training interactions"):
        split_of(replace(dataset, histories=short, user_ids=list("abcde")), level="instance")
    with pytest.raises(TslrecError, match="at least 4 users"):
        split_of(replace(dataset, histories=Histories(np.arange(4), np.ones(3, np.int32)), user_ids=list("abc")))
