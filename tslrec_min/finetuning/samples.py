"""Training samples of the language model: prompts and the distributions over latent categories that they stand for.

One sample per user (TSLRec, arXiv 2406.00333, stage 1): the titles of the training history in, the user's
distribution over latent categories out. Optionally there are virtual users of one item too, which is how stage 2 shows
every item; or, for comparison, one sample per interaction instead, as in other methods. This module also selects the
training users and the window of their histories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..categories.artifact import Categories
from ..categories.clustering import preference_distributions
from ..configs import FinetuneConfig
from ..data.dataset import Dataset, Histories
from ..errors import TslrecError
from ..llm.gguf.tokenizer import TextTokenizer
from ..llm.prompts import Prompts, TokenPrompt, item_texts
from .coreset import choose, user_features

_TOKENS_BESIDE_TITLE = 32
"""Upper bound of a template's tokens per item, its text around the items included."""
_WINDOWS, _VIRTUAL = 1, 2
"""Random streams, separate from the one that draws the held-out users."""


@dataclass(frozen=True)
class Samples:
    """Training or held-out samples of one epoch."""

    prompts: list[TokenPrompt]
    """[n]"""
    preferences: torch.Tensor
    """float32 [n, K], rows sum to 1."""
    redraw: Callable[[int], Samples] | None = None
    """Makes the samples of an epoch, if epochs differ; these are the samples of epoch 0."""
    n_virtual: int = 0
    """Number of virtual users; they come last."""
    shown: tuple[np.ndarray, ...] = ()
    """The items that each prompt shows, oldest first, integers [t]; empty if it is not known."""

    def __len__(self) -> int:
        """Return the number of samples n."""
        return len(self.prompts)

    def take(self, rows: np.ndarray) -> Samples:
        """Return some of the samples, int64 [n]."""
        return Samples([self.prompts[row] for row in rows], self.preferences[torch.from_numpy(rows)],
                       shown=tuple(self.shown[row] for row in rows) if self.shown else ())

    def epoch(self, number: int) -> Samples:
        """Return the samples of epoch 0, 1, ...: the same number, in the same order of users."""
        return self.redraw(number) if self.redraw and number else self

    @property
    def mean_preference(self) -> torch.Tensor:
        """Return the mean preference of the users, float32 [K], without virtual users."""
        return self.preferences[:len(self) - self.n_virtual].mean(dim=0)

    @property
    def tokens(self) -> int:
        """Number of tokens that the model computes: those of every prompt up to the last pooled one."""
        return sum(prompt.pool_stop for prompt in self.prompts)


@dataclass(frozen=True)
class SampleSplit:
    """The samples of a fine-tuning."""

    training: Samples
    held_out: Samples
    """Held-out users, always at user level, so that fine-tunings can be compared."""
    held_out_instances: Samples | None
    """With ``level = "instance"``: the last training interaction of each held-out user."""
    report: dict[str, Any]
    """The part of metrics.json about the samples; JSON-able."""


def history_prompts(dataset: Dataset, histories: Sequence[np.ndarray], template: Prompts,
                    tokenizer: TextTokenizer) -> list[TokenPrompt]:
    """Return the prompts of `histories`, int64 [n] each."""
    texts = item_texts(dataset, template)
    return template.tokenize_all([[texts[item - 1] for item in history] for history in histories], tokenizer)


def make_samples(dataset: Dataset, categories: Categories, tokenizer: TextTokenizer, template: Prompts,
                 config: FinetuneConfig, *, context_length: int) -> SampleSplit:
    """Draw the held-out users, choose the training users and make their samples, from training histories only.

    The held-out users depend on the seed alone, not on how training users are chosen or shown.

    Raises:
        TslrecError: there are too few users, or a prompt is longer than the model can read.
    """
    maker = _Maker(dataset, categories, tokenizer, template, config, context_length)
    training, shown = maker.training, maker.shown
    preferences = maker.preferences(shown)
    held_out, available = drawn_users(shown, config)
    trained = _chosen(shown, preferences, available, config)
    of_held_out = maker.samples([shown.of(user) for user in held_out], preferences[held_out])
    of_instances = None
    if config.level == "instance":
        seen = training
        samples = maker.samples(*_instances(training, trained, categories, config.max_history))
        if training.lengths[held_out].max() > 1:
            of_instances = maker.samples(*_instances(training, held_out, categories, config.max_history,
                                                     last_only=True))
    else:
        seen = maker.windows(0)
        virtual = virtual_targets(training, available, categories, config) if config.virtual_users else None
        samples = maker.of_epoch(trained, virtual, 0)
        longest = config.max_history * (config.max_title_tokens + _TOKENS_BESIDE_TITLE)
        if config.window == "random" and longest > context_length:
            for number in range(1, config.epochs):  # a window that is too long fails now, not after hours
                samples.epoch(number)
    report = {"level": config.level, "training_users": len(trained), "training_samples": len(samples),
              "virtual_users": samples.n_virtual, "training_tokens": samples.tokens,
              **_coverage(seen, preferences, trained, available, config),
              **_cut_titles(dataset, seen, np.concatenate([trained, held_out]), template, tokenizer)}
    return SampleSplit(samples, of_held_out, of_instances, report)


class _Maker:
    """Makes samples from training histories."""

    def __init__(self, dataset: Dataset, categories: Categories, tokenizer: TextTokenizer, template: Prompts,
                 config: FinetuneConfig, context_length: int) -> None:
        self.training = dataset.training()
        self.shown = self.training.last(config.max_history)
        self._prompts = partial(history_prompts, dataset, template=template, tokenizer=tokenizer)
        self._categories, self._config, self._context_length = categories, config, context_length

    def preferences(self, shown: Histories) -> np.ndarray:
        """Return the target of every user whose prompt shows `shown`, float32 [U, K]."""
        counted = shown if self._config.target == "shown" else self.training
        return preference_distributions(counted, self._categories.labels, self._categories.n_categories)

    def windows(self, epoch: int) -> Histories:
        """Return the items that every user's prompt shows in an epoch."""
        if self._config.window == "recent":
            return self.shown
        return random_windows(self.training, self._config.max_history, seed=self._config.seed, epoch=epoch)

    def samples(self, items: Sequence[np.ndarray], targets: np.ndarray) -> Samples:
        """Make samples of the items that each shows and their targets, float32 [n, K]."""
        prompts = self._prompts(items)
        longest = max(len(prompt.token_ids) for prompt in prompts)
        if longest > self._context_length:
            raise TslrecError(f"the longest prompt has {longest} tokens, the model reads at most "
                              f"{self._context_length}; lower --max-history or --max-title-tokens")
        return Samples(prompts, torch.from_numpy(targets), shown=tuple(items))

    def of_epoch(self, users: np.ndarray, virtual: tuple[np.ndarray, np.ndarray] | None, number: int) -> Samples:
        """Make the samples of an epoch: those of `users`, and of `virtual` ones drawn for this epoch."""
        window, redraw = self.windows(number), partial(self.of_epoch, users, virtual)
        samples = self.samples([window.of(user) for user in users], self.preferences(window)[users])
        if virtual is None:
            return replace(samples, redraw=redraw if self._config.window == "random" else None)
        known, targets = virtual
        drawn = np.random.default_rng([self._config.seed, number, _VIRTUAL]).permutation(len(known))
        drawn = drawn[:max(1, round(self._config.virtual_users * len(known)))]
        of_items = self.samples([known[row:row + 1] for row in drawn], targets[drawn])
        return Samples(samples.prompts + of_items.prompts, torch.cat([samples.preferences, of_items.preferences]),
                       redraw, len(of_items), samples.shown + of_items.shown)


def random_windows(histories: Histories, length: int, *, seed: int, epoch: int) -> Histories:
    """Return a window of at most `length` consecutive items of every history, drawn for (seed, epoch, user)."""
    kept = np.minimum(histories.lengths, length)
    draws = np.random.default_rng([seed, epoch, _WINDOWS]).random(len(histories))
    starts = np.floor(draws * (histories.lengths - kept + 1)).astype(np.int64)
    return histories.windows(starts, kept)


def drawn_users(shown: Histories, config: FinetuneConfig) -> tuple[np.ndarray, np.ndarray]:
    """Draw the held-out users, int64, and return them and the others in random order.

    Raises:
        TslrecError: there are too few users with items to show.
    """
    users = np.flatnonzero(shown.lengths)
    if len(users) < 4:
        raise TslrecError(f"fine-tuning needs at least 4 users with training items; the data set has {len(users)}")
    n_held_out = max(2, round(config.holdout * len(users)))
    held_out, available = np.split(np.random.default_rng(config.seed).permutation(users), [n_held_out])
    return held_out, available


def virtual_targets(training: Histories, users: np.ndarray, categories: Categories, config: FinetuneConfig
                     ) -> tuple[np.ndarray, np.ndarray]:
    """Return the items that `users` have, [n], and the targets of their virtual users, float32 [n, K].

    A target is the mean preference distribution of the users who have the item or of the windows that show it, or the
    item's latent category.
    """
    known, counts = np.unique(training.take(users).items, return_counts=True)
    own = np.eye(categories.n_categories, dtype=np.float32)[categories.labels]
    if config.virtual_target == "category":
        return known, own[known]
    of_users = (preference_distributions(training, categories.labels, categories.n_categories)
                if config.virtual_target == "users" else None)
    sums = np.zeros((len(known), categories.n_categories), np.float32)
    for user in users:
        history = training.of(user)
        shown = window_means(own[history], config.max_history) if of_users is None else of_users[user]
        np.add.at(sums, np.searchsorted(known, history), shown)
    return known, sums / counts[:, None]


def window_means(rows: np.ndarray, length: int) -> np.ndarray:
    """Return, for every row, the mean of the windows that contain it, float32 [n, K].

    `rows`: float [n, K], at least one; a window is `length` consecutive rows, or all rows if there are fewer.
    """
    length = min(length, len(rows))
    ends = np.cumsum(np.vstack([np.zeros_like(rows[:1], np.float64), rows]), axis=0)
    windows = (ends[length:] - ends[:-length]) / length
    ends = np.cumsum(np.vstack([np.zeros_like(windows[:1]), windows]), axis=0)
    places = np.arange(len(rows))
    first, stop = np.maximum(places - length + 1, 0), np.minimum(places + 1, len(windows))
    return ((ends[stop] - ends[first]) / (stop - first)[:, None]).astype(np.float32)


def _chosen(shown: Histories, preferences: np.ndarray, available: np.ndarray, config: FinetuneConfig) -> np.ndarray:
    """Return the training users, chosen from those `available`, which are in random order."""
    if not config.users or config.users >= len(available):
        return available
    if config.select == "random":
        return available[:config.users]
    return available[choose(user_features(shown, preferences, available), config.users)]


def _instances(training: Histories, users: np.ndarray, categories: Categories, max_history: int, *,
               last_only: bool = False) -> tuple[list[np.ndarray], np.ndarray]:
    """Return, for every interaction except a user's first, the (at most `max_history`) items before it and its
    category, one-hot, float32 [n, K].
    """
    before, labels = [], []
    for user in users:
        history = training.of(user)
        for place in range(max(1, len(history) - 1) if last_only else 1, len(history)):
            before.append(history[max(0, place - max_history):place])
            labels.append(categories.labels[history[place]])
    if not before:
        raise TslrecError("no user has two training interactions, which --level instance needs; use --level user")
    return before, np.eye(categories.n_categories, dtype=np.float32)[labels]


def _coverage(seen: Histories, preferences: np.ndarray, trained: np.ndarray, available: np.ndarray,
              config: FinetuneConfig) -> dict[str, Any]:
    """Describe how the users were chosen, and the share they cover of what all available users do.

    `seen`: the items that prompts show; with random windows, in the first epoch.
    """
    def covered(users: np.ndarray) -> tuple[int, int]:
        return len(np.unique(seen.take(users).items)), int((preferences[users] > 0).any(axis=0).sum())

    (items, kinds), (all_items, all_kinds) = covered(trained), covered(available)
    return {"selection": config.select if len(trained) < len(available) else "all", "available_users": len(available),
            "items_covered": items / all_items, "categories_covered": kinds / all_kinds}


def _cut_titles(dataset: Dataset, seen: Histories, users: np.ndarray, template: Prompts,
                tokenizer: TextTokenizer) -> dict[str, int]:
    """Count the different item texts that are too long for the template, in the catalogue and in prompts."""
    texts = item_texts(dataset, template)
    cut = template.cut(texts, tokenizer)
    in_prompts = {texts[item - 1] for item in np.unique(seen.take(users).items)}
    return {"titles_cut": len(cut), "titles_cut_in_prompts": len(in_prompts & cut.keys())}
