"""Information reconstruction: user-level fine-tuning of the language model (TSLRec, arXiv 2406.00333, stage 1).

A linear head on the pooled hidden state predicts every user's distribution over latent categories. It starts as the
constant predictor "mean distribution of the training users", which is also the baseline of every held-out loss.

The task, the linear head and a mean squared error are from the paper; the prompt, pooling, K and the choice of losses
are ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..configs import FinetuneConfig
from ..errors import TslrecError
from ..runtime import distributed
from ..runtime.progress import progress, step
from ..storage.checkpoints import Checkpointing
from ..storage.resumable import ResumableTraining
from .head import PreferenceModel, parts_of
from .losses import constant_loss, preference_loss
from .samples import Samples

_WARMUP_SHARE = 0.1
CLIP_NORM = 1.0


@torch.no_grad()
def held_out_loss(model: PreferenceModel, samples: Samples, config: FinetuneConfig) -> float:
    """Return the mean loss over users; under torchrun the processes share them."""
    own = samples.take(distributed.share(np.arange(len(samples))))
    total = torch.zeros(1, device=model.mean.device)
    for part in parts_of(own, config.batch_tokens):
        total += preference_loss(model(part.prompts), part.preferences.to(total.device), config.loss).sum()
    distributed.sum_over_processes([total])
    return total.item() / len(samples)


def fine_tune(model: PreferenceModel, training: Samples, held_out: Samples, config: FinetuneConfig, *,
              checkpointing: Checkpointing | None = None) -> dict[str, Any]:
    """Train LoRA and head of a new model in place, and keep the weights of the best held-out check.

    Args:
        model, training, held_out, config: the model, the users and the settings.
        checkpointing: where to save the state and resume an interrupted training; None: nowhere.

    Returns:
        The loss's name, the baseline (constant predictor on the held-out users), the best held-out loss, its relative
        improvement, all checks and the training losses.

    Raises:
        TslrecError: the loss is not finite.
    """
    run = FinetuningRun(model, training, held_out, config)
    return run.finish(checkpointing)


class CheckedTraining(ResumableTraining):
    """A fine-tuning with a loss of held-out users that is checked several times an epoch; `losses` are of all steps.

    A subclass has the number of steps of an epoch, and computes what is checked.
    """

    name = "fine-tuning"
    config: FinetuneConfig
    steps_per_epoch: int

    def __init__(self, model: nn.Module, groups: Sequence[Sequence[nn.Parameter]], config: FinetuneConfig,
                 device: torch.device, **settings: Any) -> None:
        """Create the optimiser over groups of the model's parameters, with further settings of AdamW."""
        super().__init__(model, [parameter for group in groups for parameter in group],
                         [{"params": group} for group in groups], config.seed, device, weight_decay=0.0, **settings)
        self.config = config
        self.checks: list[dict[str, float]] = []

    def held_out_losses(self) -> dict[str, float]:
        """Return the held-out ``loss``, and figures beside it by their names."""
        raise NotImplementedError

    @property
    def epoch(self) -> int:
        """Number of full epochs."""
        return self.place()[0]

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last `patience` checks brought no improvement."""
        since_best = len(self.checks) - 1 - int(np.argmin([check["loss"] for check in self.checks] or [0]))
        return self.epoch >= self.config.epochs or since_best >= self.config.patience

    @property
    def check_is_due(self) -> bool:
        """Whether to compute the held-out loss after the last step."""
        return self.place()[1] % max(1, math.ceil(self.steps_per_epoch / self.config.checks)) == 0

    def check(self) -> None:
        """Compute the held-out loss, and keep the weights if it is the lowest.

        Raises:
            TslrecError: the loss is not finite.
        """
        found = self.held_out_losses()
        found = dict(zip(found, distributed.of_first_process(list(found.values()), self.device), strict=True))
        loss = found["loss"]
        if not math.isfinite(loss):
            raise TslrecError(f"the held-out loss became {loss}; lower --learning-rate")
        if not self.checks or loss < min(check["loss"] for check in self.checks):
            self.keep(self.model.named_parameters())
        self.checks.append({"step": len(self.losses), **found})

    def place(self) -> tuple[int, int]:
        """Return the number of full epochs, and of steps since."""
        return divmod(len(self.losses), self.steps_per_epoch)

    def progress(self) -> dict[str, Any]:
        """Return the losses and the checks so far."""
        return {"losses": self.losses, "checks": self.checks}

    def restore(self, progress: dict[str, Any]) -> None:
        """Continue from what `progress` returned."""
        self.losses, self.checks = progress["losses"], progress["checks"]


class FinetuningRun(CheckedTraining):
    """The state of a fine-tuning by users."""

    def __init__(self, base: PreferenceModel, training: Samples, held_out: Samples, config: FinetuneConfig, *,
                 whole: nn.Module | None = None, groups: Sequence[Sequence[nn.Parameter]] | None = None) -> None:
        """Start the head.

        Args:
            base, training, held_out, config: as in `fine_tune`.
            whole: the model that `base` is a part of, if it is one.
            groups: its parameters, one group for each of `rates`.
        """
        base.start(training, config.loss, config.batch_tokens)
        groups = groups or [list(base.lora), list(base.head.parameters())]
        super().__init__(whole or base, groups, config, base.mean.device)
        self.base, self.training, self.held_out = base, training, held_out
        self.measure, self.baseline = config.loss, constant_loss(
            held_out.preferences, training.mean_preference, config.loss).mean().item()
        self.steps_per_epoch = math.ceil(len(training) / config.batch_size)
        self._drawn, self._drawn_for = training, 0  # samples, and their epoch
        self._tokens, self._seconds = 0, 0.0

    def finish(self, checkpointing: Checkpointing | None) -> dict[str, Any]:
        """Train to the end, from a checkpoint if there is one, load the best weights, and return `fine_tune`'s result.

        Raises:
            TslrecError: the loss is not finite.
        """
        self.resume(checkpointing)
        with progress(len(self.training) * self.config.epochs, "finetune", "user", initial=self.users_seen) as bar:
            while not self.finished:
                self.learn()
                bar.update(self.users_seen - bar.n)
                if self.check_is_due:
                    self.check()
                    bar.set_postfix(held_out=f"{self.checks[-1]['loss']:.4f}", baseline=f"{self.baseline:.4f}")
                    step(f"finetune: {self.users_seen} users seen, {self._tokens / self._seconds:.0f} tokens/s, "
                         f"{self.measure} of held-out users {self.described_check()}")
                self.save(checkpointing)
        self.model.load_state_dict(self.best, strict=False)
        lowest = min(check["loss"] for check in self.checks)
        return {"loss": self.measure, "baseline": self.baseline, "best": lowest,
                "improvement": 1 - lowest / self.baseline if self.baseline else 0.0,
                "held_out_users": len(self.held_out), "checks": self.checks, "training_losses": self.losses}

    def described_check(self) -> str:
        """Return the last check as text, beside the baseline."""
        return f"{self.checks[-1]['loss']:.4f}, constant predictor {self.baseline:.4f}"

    @property
    def users_seen(self) -> int:
        """Number of training users seen so far, repeats included."""
        epoch, steps = self.place()
        return epoch * len(self.training) + steps * self.config.batch_size

    def learn(self) -> None:
        """Learn from one batch and update."""
        began, number, config = time.monotonic(), len(self.losses), self.config
        epoch, steps = self.place()
        order = np.random.default_rng((config.seed, epoch)).permutation(len(self.training))
        rows = order[steps * config.batch_size:(steps + 1) * config.batch_size]
        if self._drawn_for != epoch:
            self._drawn, self._drawn_for = self.training.epoch(epoch), epoch
        self.optimiser.zero_grad(set_to_none=True)
        own = self._drawn.take(distributed.share(rows))
        total = self.gradient(own, len(rows))
        scale = scale_of(number, self.steps_per_epoch * config.epochs)
        self.update(total, CLIP_NORM, [rate * scale for rate in self.rates])
        self._tokens += own.tokens
        self._seconds += time.monotonic() - began

    @property
    def rates(self) -> tuple[float, ...]:
        """Highest learning rate of each group of parameters."""
        return self.config.learning_rate, self.config.head_learning_rate

    def gradient(self, samples: Samples, n_batch: int) -> torch.Tensor:
        """Compute the gradient of this process's share of a batch, part by part, and return its loss, float [1].

        Args:
            samples: the share.
            n_batch: number of samples of the whole batch, over which the loss is a mean.
        """
        self.seed_step(len(self.losses))  # LoRA's dropout is torch's
        total = torch.zeros(1, device=self.device)
        for part in parts_of(samples, self.config.batch_tokens):
            of_users = preference_loss(self.base(part.prompts), part.preferences.to(total.device), self.config.loss)
            loss = of_users.sum() / n_batch
            loss.backward()
            total += loss.detach()
        return total

    def held_out_losses(self) -> dict[str, float]:
        """Return the held-out ``loss``, and figures beside it by their names."""
        return {"loss": held_out_loss(self.base, self.held_out, self.config)}


def scale_of(number: int, total: int) -> float:
    """Return the learning rate of a step as a share of the highest: linear warm-up, then a cosine to zero."""
    warmup = max(1, round(_WARMUP_SHARE * total))
    if number < warmup:
        return (number + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (number - warmup) / max(1, total - warmup)))
