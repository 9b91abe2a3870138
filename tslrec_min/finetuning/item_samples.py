"""Samples of fine-tuning by items: the prompt of every item, and the next items of histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..categories.artifact import Categories
from ..categories.clustering import preference_distributions
from ..configs import FinetuneConfig
from ..data.dataset import Dataset
from ..errors import TslrecError
from ..llm.gguf.tokenizer import TextTokenizer
from ..llm.prompts import Prompts, PromptTemplate, TokenPrompt
from .next_items import NextItems
from .samples import Samples, drawn_users, history_prompts, virtual_targets


@dataclass(frozen=True)
class ItemSamples:
    """What is learned of a catalogue."""

    items: Samples
    """[I] the items' prompts, and the categories of the users who have them."""
    training: NextItems
    held_out: NextItems
    """Of users that training leaves out."""
    report: dict[str, Any]
    """The part of metrics.json about the samples; JSON-able."""


def item_prompts(dataset: Dataset, tokenizer: TextTokenizer, template: Prompts, context_length: int
                 ) -> list[TokenPrompt]:
    """Return the prompt of every item as a virtual user of one item, [I].

    Raises:
        TslrecError: a prompt is longer than the model can read.
    """
    prompts = history_prompts(dataset, [np.array([item]) for item in range(1, dataset.n_items + 1)], template,
                              tokenizer)
    longest = max(len(prompt.token_ids) for prompt in prompts)
    if longest > context_length:
        raise TslrecError(f"the longest prompt has {longest} tokens, the model reads at most {context_length}; lower "
                          "--max-title-tokens")
    return prompts


def make_item_samples(dataset: Dataset, categories: Categories, tokenizer: TextTokenizer, template: Prompts,
                      config: FinetuneConfig, *, context_length: int) -> ItemSamples:
    """Draw the held-out users, as `samples.make_samples` does, and make the samples from training histories only.

    An item that no training user has stands for the mean of all users' categories.

    Raises:
        TslrecError: there are too few users with next items, a prompt is longer than the model can read, or the state
            of the last token is read, which is the same token in all prompts.
    """
    if isinstance(template, PromptTemplate) and template.pooling != "mean":
        raise TslrecError(f"--objective residual reads the tokens of the titles; got --pooling {template.pooling}, use "
                          "--pooling mean")
    training = dataset.training()
    held_out, users = drawn_users(training.last(config.max_history), config)
    preferences = preference_distributions(training, categories.labels, categories.n_categories)
    targets = np.tile(preferences[users].mean(axis=0), (dataset.n_items, 1)).astype(np.float32)
    known, of_known = virtual_targets(training, users, categories, config)
    targets[known - 1] = of_known
    prompts = item_prompts(dataset, tokenizer, template, context_length)
    items = Samples(prompts, torch.from_numpy(targets))
    counted = config.offset == "transitions"
    places = NextItems.of(training, dataset.n_items, users, with_counts=counted)
    checked = places.of_users(training, held_out)
    if not len(places) or not len(checked):
        raise TslrecError(f"of {len(users)} training and {len(held_out)} held-out users, none of the "
                          f"{'latter' if len(places) else 'former'} has two training items, so that there is no next "
                          "item; raise --holdout, or use --objective categories")
    report = {"training_users": len(users), "held_out_users": len(held_out), "training_places": len(places),
              "training_samples": len(items), "training_tokens": items.tokens,
              "items_covered": len(known) / dataset.n_items}
    return ItemSamples(items, places, checked, report)
