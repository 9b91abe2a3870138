"""Information reconstruction: user-level fine-tuning of the language model (TSLRec, arXiv 2406.00333, stage 1).

A linear head on the pooled hidden state predicts every user's distribution over latent categories. It starts as the
constant predictor "mean distribution of the training users", which is also the baseline of every held-out loss.

The task, the linear head and a mean squared error are from the paper; the prompt, pooling, K and the choice of losses
are ours.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

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
    run.resume(checkpointing)
    with progress(len(training) * config.epochs, "finetune", "user", initial=run.users_seen) as bar:
        while not run.finished:
            run.learn()
            bar.update(run.users_seen - bar.n)
            if run.check_is_due:
                run.check()
                bar.set_postfix(held_out=f"{run.checks[-1]['loss']:.4f}", baseline=f"{run.baseline:.4f}")
                step(f"finetune: {run.users_seen} users seen, {config.loss} of held-out users "
                     f"{run.checks[-1]['loss']:.4f}, constant predictor {run.baseline:.4f}")
            run.save(checkpointing)
    model.load_state_dict(run.best, strict=False)
    lowest = min(check["loss"] for check in run.checks)
    return {"loss": config.loss, "baseline": run.baseline, "best": lowest,
            "improvement": 1 - lowest / run.baseline if run.baseline else 0.0,
            "held_out_users": len(held_out), "checks": run.checks, "training_losses": run.losses}


class FinetuningRun(ResumableTraining):
    """The state of a fine-tuning; `losses` are those of all steps."""

    name = "fine-tuning"
    model: PreferenceModel

    def __init__(self, model: PreferenceModel, training: Samples, held_out: Samples, config: FinetuneConfig) -> None:
        model.start(training, config.loss, config.batch_tokens)
        super().__init__(model, list(model.parameters()), [{"params": list(model.lora)},
                                                           {"params": list(model.head.parameters())}],
                         config.seed, model.mean.device, weight_decay=0.0)
        self.training, self.held_out, self.config = training, held_out, config
        self.baseline = constant_loss(held_out.preferences, training.mean_preference, config.loss).mean().item()
        self.steps_per_epoch = math.ceil(len(training) / config.batch_size)
        self.checks: list[dict[str, float]] = []
        self._drawn, self._drawn_for = training, 0  # samples, and their epoch

    @property
    def epoch(self) -> int:
        """Number of full passes over the training users."""
        return len(self.losses) // self.steps_per_epoch

    @property
    def users_seen(self) -> int:
        """Number of training users seen so far, repeats included."""
        epoch, steps = self.place()
        return epoch * len(self.training) + steps * self.config.batch_size

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last `patience` checks brought no improvement."""
        since_best = len(self.checks) - 1 - int(np.argmin([check["loss"] for check in self.checks] or [0]))
        return self.epoch >= self.config.epochs or since_best >= self.config.patience

    @property
    def check_is_due(self) -> bool:
        """Whether to compute the held-out loss after the last step."""
        return self.place()[1] % max(1, math.ceil(self.steps_per_epoch / self.config.checks)) == 0

    def learn(self) -> None:
        """Learn from one batch, part by part, and update."""
        number, config = len(self.losses), self.config
        epoch, steps = self.place()
        order = np.random.default_rng((config.seed, epoch)).permutation(len(self.training))
        rows = order[steps * config.batch_size:(steps + 1) * config.batch_size]
        if self._drawn_for != epoch:
            self._drawn, self._drawn_for = self.training.epoch(epoch), epoch
        self.seed_step(number)  # LoRA's dropout is torch's
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros(1, device=self.device)
        own = self._drawn.take(distributed.share(rows))
        for part in parts_of(own, config.batch_tokens):
            of_users = preference_loss(self.model(part.prompts), part.preferences.to(total.device), config.loss)
            loss = of_users.sum() / len(rows)
            loss.backward()
            total += loss.detach()
        scale = scale_of(number, self.steps_per_epoch * config.epochs)
        self.update(total, CLIP_NORM, [config.learning_rate * scale, config.head_learning_rate * scale])

    def check(self) -> None:
        """Compute the held-out loss, and keep the weights if it is the lowest.

        Raises:
            TslrecError: the loss is not finite.
        """
        loss = held_out_loss(self.model, self.held_out, self.config)
        loss, = distributed.of_first_process([loss], self.device)
        if not math.isfinite(loss):
            raise TslrecError(f"the held-out loss became {loss}; lower --learning-rate")
        if not self.checks or loss < min(check["loss"] for check in self.checks):
            self.keep(self.model.named_parameters())
        self.checks.append({"step": len(self.losses), "loss": loss})

    def place(self) -> tuple[int, int]:
        """Return the number of full epochs, and of steps since."""
        return divmod(len(self.losses), self.steps_per_epoch)

    def progress(self) -> dict[str, Any]:
        """Return the losses and the checks so far."""
        return {"losses": self.losses, "checks": self.checks}

    def restore(self, progress: dict[str, Any]) -> None:
        """Continue from what `progress` returned."""
        self.losses, self.checks = progress["losses"], progress["checks"]


def scale_of(number: int, total: int) -> float:
    """Return the learning rate of a step as a share of the highest: linear warm-up, then a cosine to zero."""
    warmup = max(1, round(_WARMUP_SHARE * total))
    if number < warmup:
        return (number + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (number - warmup) / max(1, total - warmup)))
