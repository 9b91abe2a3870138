"""Training samples of the language model: prompts of users and their preference distributions.

One sample per user (TSLRec, arXiv 2406.00333, stage 1): the titles of the training history in, the user's
distribution over latent categories out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .categories import preference_distributions
from .configs import FinetuneConfig
from .data.dataset import Dataset, Histories
from .errors import TslrecError
from .gguf.tokenizer import TextTokenizer
from .prompts import PromptTemplate, TokenPrompt
from .recommenders import Categories


@dataclass(frozen=True)
class Samples:
    """Users as training samples."""

    prompts: list[TokenPrompt]
    """[n]"""
    preferences: torch.Tensor
    """float32 [n, K], rows sum to 1."""

    def __len__(self) -> int:
        """Return the number of users n."""
        return len(self.prompts)

    def take(self, rows: np.ndarray) -> Samples:
        """Return some of the users."""
        return Samples([self.prompts[row] for row in rows], self.preferences[torch.from_numpy(rows)])


def user_prompts(dataset: Dataset, shown: Histories, users: np.ndarray, template: PromptTemplate,
                 tokenizer: TextTokenizer) -> list[TokenPrompt]:
    """Return the prompts of users, int64 [n], made of the titles of their `shown` items."""
    return [template.tokenize([dataset.titles[item - 1] for item in shown.of(user)], tokenizer) for user in users]


def make_samples(dataset: Dataset, categories: Categories, tokenizer: TextTokenizer, template: PromptTemplate,
                 config: FinetuneConfig, *, context_length: int) -> tuple[Samples, Samples]:
    """Draw the training and the held-out users and make their samples, from training histories alone.

    Returns:
        Training samples and held-out samples.

    Raises:
        TslrecError: there are too few users, or a prompt is longer than the model can read.
    """
    training = dataset.training()
    shown = training.last(config.max_history)
    counted = shown if config.target == "shown" else training
    preferences = preference_distributions(counted, categories.labels, categories.n_categories)
    users = np.flatnonzero(np.diff(shown.indptr) > 0)
    if len(users) < 4:
        raise TslrecError(f"fine-tuning needs at least 4 users with training items; the data set has {len(users)}")
    order = np.random.default_rng(config.seed).permutation(users)
    n_held_out = max(2, round(config.holdout * len(users)))
    held_out, trained = order[:n_held_out], order[n_held_out:]
    if config.users:
        trained = trained[:config.users]

    def samples_of(chosen: np.ndarray) -> Samples:
        prompts = user_prompts(dataset, shown, chosen, template, tokenizer)
        longest = max(len(prompt.token_ids) for prompt in prompts)
        if longest > context_length:
            raise TslrecError(f"the longest prompt has {longest} tokens, the model reads at most {context_length}; "
                              "lower --max-history")
        return Samples(prompts, torch.from_numpy(preferences[chosen]))

    return samples_of(trained), samples_of(held_out)
