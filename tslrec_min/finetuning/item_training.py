"""Fine-tuning by items: every item is a virtual user of one item, and users are sums of their items' vectors.

A step reads a batch of items. The loss of next items (`next_item_loss`) takes all items of the catalogue as candidates:
those of the batch by what the model makes of them now, the others by their states when they were last read. So an epoch
reads every title once, where user-level samples read it once for every user who has it. The same states learn what the
head of latent categories says of an item (`samples`), so that both are learned in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..configs import FinetuneConfig
from ..runtime import distributed
from ..runtime.progress import progress, step
from ..storage.checkpoints import Checkpointing
from .head import PreferenceModel, rows_of_parts
from .item_samples import ItemSamples
from .item_tokens import ItemTokens
from .losses import preference_loss
from .next_item_loss import next_item_loss
from .next_items import PlacesOfItems
from .projected_items import TOKEN_DROPOUT, ProjectedItems
from .samples import Samples
from .training import CLIP_NORM, CheckedTraining, scale_of

PLACES = 2400
"""Places of histories that a step learns from: a third foretell an item of the batch, a third read one."""
_HELD_OUT_PLACES = 4000
_FITTED_PLACES = 2000
_FACTOR_RATE = 0.01
_START_SHARPNESS, _LEAST_SHARPNESS = (13.0, 1.0), 8.0
_ORDER, _DRAWN, _CHECKED = 11, 12, 13
"""Random streams."""


class ItemModel(ProjectedItems):
    """A language model that learns the catalogue's items, with the factors of `next_items`."""

    def __init__(self, base: PreferenceModel, tokens: ItemTokens, width: int) -> None:
        """Take what `ProjectedItems` takes."""
        super().__init__(base, tokens, width)
        self.factors = nn.Parameter(torch.zeros(3, device=base.mean.device))  # log s, b, q

    @torch.no_grad()
    def values(self) -> torch.Tensor:
        """Return s, b and q, float32 [3]."""
        return _plain(self.factors)

    def start(self, items: Samples, config: FinetuneConfig) -> None:
        """Read all items, and start the head and the projection from their states."""
        self.base.start(items, config.loss, config.batch_tokens)
        self.read(items.prompts, config.batch_tokens)
        self.start_projection()


def fine_tune_items(model: ItemModel, samples: ItemSamples, config: FinetuneConfig, *, threads: int,
                    checkpointing: Checkpointing | None = None) -> dict[str, Any]:
    """Train a new model in place, and keep the weights of the best held-out check.

    Args:
        model, samples, config: the model, the catalogue and the settings.
        threads: of the kernel that adds up counts.
        checkpointing: where to save the state and resume an interrupted training; None: nowhere.

    Returns:
        The loss of held-out users' next items, in nats: by popularity alone (``baseline``), by counts (``counts``),
        before (``untuned``) and after training (``best``), all checks, and the training losses.

    Raises:
        TslrecError: the loss is not finite.
    """
    run = ItemTuning(model, samples, config, threads)
    run.resume(checkpointing)
    with progress(len(samples.items) * config.epochs, "finetune", "item", initial=run.items_read) as bar:
        while not run.finished:
            if not run.checks:
                run.start()
            run.learn()
            bar.update(run.items_read - bar.n)
            if run.check_is_due:
                run.check()
                bar.set_postfix(held_out=f"{run.checks[-1]['loss']:.4f}", counts=f"{run.counts:.4f}")
                step(f"finetune: {run.items_read} items read, loss of held-out users' next items "
                     f"{run.checks[-1]['loss']:.4f}, untuned {run.untuned:.4f}, counts {run.counts:.4f}, "
                     f"popularity {run.baseline:.4f}")
            run.save(checkpointing)
    model.load_state_dict(run.best, strict=False)
    lowest = min(check["loss"] for check in run.checks)
    scale, evidence, popularity = model.values().tolist()
    return {"loss": "next item", "baseline": run.baseline, "counts": run.counts, "untuned": run.untuned,
            "best": lowest, "improvement": 1 - lowest / run.baseline, "sharpness": scale, "weight_of_counts": evidence,
            "weight_of_popularity": popularity, "checks": run.checks, "training_losses": run.losses}


class ItemTuning(CheckedTraining):
    """The state of a fine-tuning by items."""

    model: ItemModel

    def __init__(self, model: ItemModel, samples: ItemSamples, config: FinetuneConfig, threads: int) -> None:
        base = model.base
        own = [*model.map_parameters, *base.head.parameters()]
        super().__init__(model, [list(base.lora), own, [model.factors]], config, base.mean.device, betas=(0.9, 0.98))
        self.samples, self.threads = samples, threads
        self.steps_per_epoch = math.ceil(len(samples.items) / self.items_a_step)
        self.baseline = self.counts = self.untuned = math.nan
        training = samples.training
        self._foretelling = PlacesOfItems.grouped(training.targets, np.arange(len(training)), training.n_items)
        contexts, _ = training.contexts(np.arange(len(training)))
        self._reading = PlacesOfItems.grouped(contexts.items, np.repeat(np.arange(len(training)), contexts.lengths),
                                              training.n_items)

    @property
    def items_a_step(self) -> int:
        """Number of items of a batch."""
        return min(self.config.items_per_step, max(1, len(self.samples.items) // 8))

    @property
    def items_read(self) -> int:
        """Number of items read so far, repeats included."""
        epoch, steps = self.place()
        return epoch * len(self.samples.items) + min(steps * self.items_a_step, len(self.samples.items))

    def start(self) -> None:
        """Start the model from the items' states, and compute what held-out users lose before training."""
        step(f"reading {len(self.samples.items)} items")
        model = self.model
        model.start(self.samples.items, self.config)
        none = torch.zeros(len(model.bank), 1, device=self.device)  # no vectors: the scores are those of counts
        self.baseline = self._held_out_loss(none, torch.tensor([1.0, 0.0, 1.0]))
        by_counts, _ = self._fitted(none, (0.0, float(self.samples.training.evidence is not None), 0.1))
        self.counts = self._held_out_loss(none, _plain(torch.tensor(by_counts)))
        with torch.no_grad():
            table = model.table(model.bank)
        # far from counts, and near them: the search finds the nearest optimum
        fits = [self._fitted(table, (math.log(sharpness), *by_counts[1:])) for sharpness in _START_SHARPNESS]
        best, _ = min(fits, key=lambda fit: fit[1])
        with torch.no_grad():
            model.factors.copy_(torch.tensor(distributed.of_first_process(best, self.device)))
            self.check()
            self.untuned = self.checks[0]["loss"]
            # a flat softmax has little gradient by the vectors
            model.factors[0] = model.factors[0].clamp_min(math.log(_LEAST_SHARPNESS))

    def _fitted(self, table: torch.Tensor, start: Sequence[float]) -> tuple[list[float], float]:
        """Return log s, b and q with which a table foretells training users' next items best, and the loss there."""
        training = self.samples.training
        rows = np.random.default_rng([self.config.seed, _CHECKED]).permutation(len(training))[:_FITTED_PLACES]
        factors = torch.tensor(start, requires_grad=True)
        optimiser = torch.optim.LBFGS([factors], max_iter=25, line_search_fn="strong_wolfe")

        def loss() -> float:
            now = _plain(factors)
            found = next_item_loss(training, rows, np.ones(len(rows)), table, now, threads=self.threads)
            factors.grad = found.factors.cpu() * torch.tensor([float(now[0]), 1, 1]) / len(rows)
            return found.loss / len(rows)

        optimiser.step(loss)  # type: ignore[arg-type] # torch's annotation lacks plain numbers
        return factors.tolist(), loss()

    def _held_out_loss(self, table: torch.Tensor, factors: torch.Tensor) -> float:
        """Return the mean loss at some places of held-out users, the same in all checks."""
        held_out = self.samples.held_out
        rows = np.random.default_rng([self.config.seed, _CHECKED]).permutation(len(held_out))[:_HELD_OUT_PLACES]
        found = next_item_loss(held_out, rows, np.ones(len(rows)), table, factors, threads=self.threads)
        return found.loss / len(rows)

    def learn(self) -> None:
        """Learn from one batch of items, part by part, and update."""
        number, config, model = len(self.losses), self.config, self.model
        epoch, steps = self.place()
        order = np.random.default_rng([config.seed, _ORDER, epoch]).permutation(len(self.samples.items))
        batch = order[steps * self.items_a_step:(steps + 1) * self.items_a_step]
        rows, weights = self._drawn(batch + 1, np.random.default_rng([config.seed, _DRAWN, number]))
        self.seed_step(number, shared=True)  # tokens are left out alike in all processes
        self.optimiser.zero_grad(set_to_none=True)
        factors, states = model.values(), model.bank.clone().requires_grad_(True)
        table = model.table(states, TOKEN_DROPOUT)
        found = next_item_loss(self.samples.training, rows, weights, table.detach(), factors, threads=self.threads)
        share = 1 / distributed.world_size()  # all processes compute the same; their sum is taken
        table.backward(found.table * (share / weights.sum()))
        model.factors.grad = found.factors * (share / weights.sum())
        model.factors.grad[0] *= factors[0]  # of its logarithm
        total = torch.full((1,), found.loss / weights.sum() * share, device=self.device)
        assert states.grad is not None
        # The batch stands for the catalogue, so that rates don't depend on its size.
        by_state = states.grad[torch.from_numpy(batch + 1).to(self.device)] * (len(states) - 1) / len(batch) / share
        del states, table, found
        self.seed_step(number)  # LoRA's dropout is torch's
        read = torch.zeros_like(by_state)
        own = distributed.share(np.arange(len(batch)))
        items = self.samples.items.take(batch[own])
        for part in rows_of_parts(items.prompts, config.batch_tokens):
            places = torch.from_numpy(own[part]).to(self.device)
            now = self._states(batch[own[part]] + 1, items.take(part))
            of_items = preference_loss(model.base.preferences(now), items.preferences[part].to(self.device),
                                       config.loss).sum() / len(batch)
            (of_items + (now * by_state[places]).sum()).backward()
            read[places] = now.detach()
        distributed.sum_over_processes([read])
        model.bank[torch.from_numpy(batch + 1).to(self.device)] = read
        scale = scale_of(number, self.steps_per_epoch * config.epochs)
        self.update(total, CLIP_NORM, [config.learning_rate * scale, config.head_learning_rate * scale,
                                       _FACTOR_RATE * scale])

    def _states(self, numbers: np.ndarray, items: Samples) -> torch.Tensor:
        """Return the states of some items, [n, D], with a graph if the language model is trained."""
        if not self.config.learning_rate:
            return self.model.bank[torch.from_numpy(numbers).to(self.device)]
        return self.model.base.reader.pooled_states(items.prompts)

    @torch.no_grad()
    def held_out_losses(self) -> dict[str, float]:
        """Return the held-out loss, by the items' states of when they were last read; at the end all are read again."""
        if self.epoch >= self.config.epochs and self.config.learning_rate:
            self.model.read(self.samples.items.prompts, self.config.batch_tokens)
        return {"loss": self._held_out_loss(self.model.table(self.model.bank), self.model.values())}

    def progress(self) -> dict[str, Any]:
        """Return the losses, the checks and the losses of held-out users before training."""
        return super().progress() | {"before": [self.baseline, self.counts, self.untuned]}

    def restore(self, progress: dict[str, Any]) -> None:
        """Continue from what `progress` returned."""
        super().restore(progress)
        self.baseline, self.counts, self.untuned = progress["before"]

    def _drawn(self, items: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the places of a step, int64 [n], and their weights, float64 [n], by which they stand for all places.

        Places that foretell an item of the batch, that only read one, and others: the others' gradient by the batch is
        that of candidates, which is small and alike, so that few of them are enough.
        """
        foretelling = np.zeros(len(self.samples.training), np.bool_)
        foretelling[self._foretelling.of_items(items)] = True
        reading = np.zeros_like(foretelling)
        reading[self._reading.of_items(items)] = True
        drawn = []
        for kind in (foretelling, reading & ~foretelling, ~reading & ~foretelling):
            places = np.flatnonzero(kind)
            taken = random.choice(places, min(PLACES // 3, len(places)), replace=False)
            drawn.append((taken, np.full(len(taken), len(places) / max(len(taken), 1))))
        rows, weights = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
        return rows, weights


def _plain(factors: torch.Tensor) -> torch.Tensor:
    """Return s, b and q from log s, b and q, float32 [3]."""
    return torch.cat([factors[:1].exp(), factors[1:]]).detach()
