"""Fine-tuning by users and by every next title of their prompts: one causal pass learns from all of them.

    L = L_preferences(user) + lambda (1/T) sum_t -log p(i_{t+1} | m_t)

T is the number of titles that follow one in the user's prompt, m_t the mean state of its first t titles, and p is that
of `next_titles`, in two levels. A user-level sample has one target for all tokens of a prompt; here each title is one,
at the cost of the same pass. A virtual user of one item has no next title. The candidates' vectors are those of
`projected_items`: items are read at the beginning of every epoch and before the last check. z is the map of the items'
vectors too, without the vectors of tokens: an item as a context and as a candidate lie in one space.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..configs import FinetuneConfig
from ..data.dataset import Dataset
from ..errors import TslrecError
from ..llm.prompts import TokenPrompt
from ..runtime import distributed
from ..runtime.progress import step
from ..storage.checkpoints import Checkpointing
from .head import PreferenceModel, parts_of
from .item_tokens import ItemTokens
from .kinds import EncoderKind, Kind
from .losses import constant_loss, preference_loss
from .next_titles import ItemGroups, NextTitles, next_title_losses
from .projected_items import TOKEN_DROPOUT, ProjectedItems
from .samples import Samples, SampleSplit
from .training import FinetuningRun

_START_SHARPNESS = 3.0
"""Near the best value for untuned states, whose order within a category says little; 10 costs 0.3 nats there."""
_SHARPNESS_RATE = 0.01
_PARTS = ("preferences", "next_category", "next_item")
"""Of the loss."""


def check_two_level(config: FinetuneConfig, kind: Kind) -> None:
    """Raise TslrecError if a model or a setting has no state of every title, or no logits of categories."""
    if isinstance(kind, EncoderKind):
        raise TslrecError(f"{config.model} is an encoder, whose states of a title depend on the titles after it; "
                          "--objective two-level needs a decoder, such as smollm2-135m")
    if config.pooling != "mean":
        raise TslrecError(f"--objective two-level reads the mean state of the titles up to each; got --pooling "
                          f"{config.pooling}, use --pooling mean")
    if config.loss == "mse":
        raise TslrecError("--objective two-level needs logits of categories; got --loss mse, use kl or ce")


class TwoLevelModel(ProjectedItems):
    """A language model that learns users' categories and next titles."""

    def __init__(self, base: PreferenceModel, tokens: ItemTokens, width: int) -> None:
        """Take what `ProjectedItems` takes."""
        super().__init__(base, tokens, width)
        self.log_sharpness = nn.Parameter(torch.full((), math.log(_START_SHARPNESS), device=base.mean.device))

    def contexts(self, states: torch.Tensor) -> torch.Tensor:
        """Return z, float32 [P, d], by mean states, float32 [P, D]."""
        return F.normalize(states @ self.weight.T + self.bias, dim=1)

    def losses(self, samples: Samples, groups: ItemGroups, table: torch.Tensor, loss: str) -> torch.Tensor:
        """Return the parts of the loss summed over samples: of preferences, next categories and items, float32 [3].

        Args:
            samples: of users.
            groups: the categories' items.
            table: float32 [I+1, d], the items' vectors.
            loss: name of that of preferences.
        """
        titles, device = NextTitles.of(samples), table.device
        states = self.base.reader.prefix_states(samples.prompts, titles.stops)  # type: ignore[attr-defined]
        outputs = self.base.preferences(states)  # [N, K]
        places, whole = (torch.from_numpy(rows).to(device) for rows in (titles.rows, titles.whole_rows))
        of_users = preference_loss(outputs[whole], samples.preferences.to(device), loss)
        next_parts = next_title_losses(titles, groups, outputs[places], self.contexts(states[places]), table,
                                       self.log_sharpness.exp())
        weights = torch.from_numpy(titles.weights).to(device)
        return torch.stack([of_users.sum(), *((part * weights).sum() for part in next_parts)])


class TwoLevelRun(FinetuningRun):
    """The state of a fine-tuning by users and next titles."""

    model: TwoLevelModel

    def __init__(self, model: TwoLevelModel, samples: SampleSplit, items: list[TokenPrompt], groups: ItemGroups,
                 shares: np.ndarray, config: FinetuneConfig) -> None:
        """Take the model, the users, the items' prompts and categories, and each item's popularity, float [I+1]."""
        base = model.base
        super().__init__(base, samples.training, samples.held_out, config, whole=model, groups=[
            list(base.lora), [*base.head.parameters(), *model.map_parameters], [model.log_sharpness]])
        self.items, self.groups = items, groups
        self.measure = f"{config.loss} + next title"
        self.baselines = self._constant_losses(shares)
        self.baseline = self._sum(self.baselines)

    @property
    def rates(self) -> tuple[float, ...]:
        """Highest learning rate of each group of parameters."""
        return *super().rates, _SHARPNESS_RATE

    def learn(self) -> None:
        """Learn from one batch; read all items first if it is the first of an epoch."""
        if not self.place()[1]:
            self._read_items()
            if not self.losses:
                self.model.start_projection()
                self.check()
        super().learn()

    def _read_items(self) -> None:
        step(f"reading {len(self.items)} items")
        self.model.read(self.items, self.config.batch_tokens)

    def gradient(self, samples: Samples, n_batch: int) -> torch.Tensor:
        """Compute the gradient as `FinetuningRun.gradient` does; that of the items' vectors is added up over parts."""
        model, number = self.model, len(self.losses)
        self.seed_step(number, shared=True)  # tokens are left out alike in all processes
        table = model.table(model.bank, TOKEN_DROPOUT)
        leaf = table.detach().requires_grad_()
        self.seed_step(number)
        total = torch.zeros(1, device=self.device)
        for part in parts_of(samples, self.config.batch_tokens):
            loss = self._total(model.losses(part, self.groups, leaf, self.config.loss)) / n_batch
            loss.backward()
            total += loss.detach()
        table.backward(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
        return total

    def check(self) -> None:
        """Compute the held-out losses as `FinetuningRun.check` does, the last time by the items as they are now."""
        if self.epoch >= self.config.epochs:
            self._read_items()
        super().check()

    @torch.no_grad()
    def held_out_losses(self) -> dict[str, float]:
        """Return the held-out ``loss`` and its parts, each a mean over users."""
        model = self.model
        table, sums = model.table(model.bank), torch.zeros(3, device=self.device)
        for part in parts_of(self.held_out.take(distributed.share(np.arange(len(self.held_out)))),
                             self.config.batch_tokens):
            sums += model.losses(part, self.groups, table, self.config.loss)
        distributed.sum_over_processes([sums])
        parts = dict(zip(_PARTS, (sums / len(self.held_out)).tolist(), strict=True))
        return {"loss": self._sum(parts), **parts}

    def described_check(self) -> str:
        """Return the last check as text: its parts, each beside that of the constant predictor."""
        parts = (f"{name.replace('_', ' ')} {self.checks[-1][name]:.4f} of {self.baselines[name]:.4f}"
                 for name in _PARTS)
        return f"{super().described_check()} ({', '.join(parts)})"

    def _total(self, parts: torch.Tensor) -> torch.Tensor:
        """Return the loss by its parts, float32 [3]."""
        return parts[0] + self.config.next_item_weight * (parts[1] + parts[2])

    def _sum(self, parts: dict[str, float]) -> float:
        return float(self._total(torch.tensor([parts[name] for name in _PARTS], dtype=torch.float64)))

    def _constant_losses(self, shares: np.ndarray) -> dict[str, float]:
        """Return what held-out users lose by the mean categories of users, and the popularity of items within one."""
        held_out, mean = self.held_out, self.training.mean_preference
        of_users = constant_loss(held_out.preferences, mean, self.config.loss)
        titles = NextTitles.of(held_out)
        parts = next_title_losses(titles, self.groups, mean.clamp_min(1e-6).log().expand(len(titles), -1),
                                  torch.ones(len(titles), 1), torch.from_numpy(np.log(shares)).float()[:, None],
                                  torch.ones(()))
        means = [of_users.mean(), *((part * torch.from_numpy(titles.weights)).sum() / len(held_out) for part in parts)]
        return dict(zip(_PARTS, (float(mean) for mean in means), strict=True))


def fine_tune_two_level(model: TwoLevelModel, samples: SampleSplit, items: list[TokenPrompt], groups: ItemGroups,
                        dataset: Dataset, config: FinetuneConfig, *, checkpointing: Checkpointing | None = None
                        ) -> dict[str, Any]:
    """Train a new model in place, and keep the weights of the best held-out check.

    Args:
        model: the model.
        samples: the users.
        items: the prompts of all items, [I].
        groups: the categories' items.
        dataset: of which training histories say how popular items are, for the baseline.
        config: the settings.
        checkpointing: where to save the state and resume an interrupted training; None: nowhere.

    Returns:
        What `training.fine_tune` returns, the loss's parts in ``checks``, those of the constant predictor in
        ``baselines``, and the loss before training, ``untuned``.

    Raises:
        TslrecError: the loss is not finite.
    """
    counts = np.maximum(np.bincount(dataset.training().items, minlength=dataset.n_items + 1), 0.5)
    run = TwoLevelRun(model, samples, items, groups, counts / counts[1:].sum(), config)
    metrics = run.finish(checkpointing)
    return metrics | {"baselines": run.baselines, "untuned": run.checks[0]["loss"],
                      "sharpness": float(model.log_sharpness.detach().exp()),
                      "next_places": len(NextTitles.of(samples.training))}
