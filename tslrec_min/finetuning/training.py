"""Information reconstruction: user-level fine-tuning of the language model (TSLRec, arXiv 2406.00333, stage 1).

One sample per user: the titles of the training history in, the user's distribution over latent categories out,
through a linear head on the pooled hidden state. The head starts as the constant predictor "mean distribution of
the training users", which is also the baseline that is logged beside every held-out loss.

Known of the paper are the task, the linear head and a mean squared error; the prompt, pooling, K and the choice
of losses are ours.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from ..configs import FinetuneConfig
from ..errors import TslrecError
from ..llm.lora import lora_layers
from ..llm.packed_decoder import PackedDecoder
from ..llm.prompts import TokenPrompt
from ..recommenders.losses import constant_loss, constant_outputs, preference_loss
from ..runtime import distributed
from ..runtime.progress import progress, step
from ..storage.checkpoints import Checkpointing, load_checkpoint, save_checkpoint, say_taken_up
from .samples import Samples

_WARMUP_SHARE = 0.1
_CLIP_NORM = 1.0
_STANDARDISED_ON = 64


class PreferenceModel(nn.Module):
    """A language model with a linear head on its pooled hidden state; its parameters are the trainable ones.

    Pooled states of different users are nearly parallel, and a head trained on them directly spends its steps on
    what they share. So they are standardised by numbers that are fixed before training; `linear_head` folds these
    into the head, which stays linear in the state.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: Any, n_categories: int, *, checkpointing: bool = False) -> None:
        """Take a network with its LoRA layers, on its device; see `PackedDecoder`."""
        super().__init__()
        width, device = network.config.hidden_size, network.device
        self.decoder = PackedDecoder(network, checkpointing=checkpointing)
        self.lora = nn.ParameterList(matrix for layer in lora_layers(network).values()
                                     for matrix in (layer.lora_A, layer.lora_B))
        self.head = nn.Linear(width, n_categories, device=device)
        self.register_buffer("mean", torch.zeros(width, device=device))
        self.register_buffer("scale", torch.ones(width, device=device))

    @torch.no_grad()
    def start(self, samples: Samples, loss: str, batch_tokens: int) -> None:
        """Fix the standardisation on the first users and make the head predict the mean preference for everyone."""
        first = samples.take(np.arange(min(_STANDARDISED_ON, len(samples))))
        states = torch.cat([self.decoder.pooled_states(part.prompts) for part in parts_of(first, batch_tokens)])
        self.mean.copy_(states.mean(dim=0))
        self.scale.copy_(states.std(dim=0, unbiased=False).clamp_min(1e-4 * states.abs().mean()))
        nn.init.zeros_(self.head.weight)
        self.head.bias.copy_(constant_outputs(samples.mean_preference, loss))

    def forward(self, prompts: list[TokenPrompt]) -> torch.Tensor:
        """Return the head's outputs, float32 [B, K]."""
        return self.head((self.decoder.pooled_states(prompts) - self.mean) / self.scale)

    def linear_head(self) -> dict[str, torch.Tensor]:
        """Return the head on the plain pooled state: ``weight`` float32 [K, D] and ``bias`` [K]."""
        weight = self.head.weight.detach() / self.scale
        return {"weight": weight.cpu(), "bias": (self.head.bias.detach() - weight @ self.mean).cpu()}


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the frozen weights.

    ``auto`` is bfloat16 on GPUs that have it and on CPUs with instructions for it (AMX, AVX512-BF16), else float32:
    with AVX2 or plain AVX-512 it was slower than float32 (``benchmarks/precision.py``).
    """
    if name == "fp32":
        return torch.float32
    if name == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return torch.float32
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if fast else torch.float32


def parts_of(samples: Samples, batch_tokens: int) -> list[Samples]:
    """Cut samples into parts of at most `batch_tokens` tokens, prompts of similar length together.

    Attention alone sees prompts side by side, and outside of its kernel for CPUs it pads them to the longest.
    """
    lengths = np.array([prompt.pool_stop for prompt in samples.prompts])
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    if not len(ends):
        return []
    # As few parts as the limit allows, and then of about the same size: small products are slow ones.
    size = ends[-1] / math.ceil(ends[-1] / batch_tokens)
    parts: list[list[int]] = []
    total = 0
    for row in order:
        if not parts or total + lengths[row] > batch_tokens or total >= size:
            parts.append([])
            total = 0
        parts[-1].append(row)
        total += lengths[row]
    return [samples.take(np.array(part)) for part in parts]


@torch.no_grad()
def held_out_loss(model: PreferenceModel, samples: Samples, config: FinetuneConfig) -> float:
    """Return the mean loss over users; under torchrun every process works out a share of them."""
    own = samples.take(distributed.share(np.arange(len(samples))))
    total = torch.zeros(1, device=model.mean.device)
    for part in parts_of(own, config.batch_tokens):
        total += preference_loss(model(part.prompts), part.preferences.to(total.device), config.loss).sum()
    distributed.sum_over_processes([total])
    return total.item() / len(samples)


def fine_tune(model: PreferenceModel, training: Samples, held_out: Samples, config: FinetuneConfig, *,
              checkpointing: Checkpointing | None = None) -> dict[str, Any]:
    """Train LoRA and head in place; the weights of the best held-out check stay.

    Args:
        model: freshly made.
        training, held_out: the users.
        config: optimisation settings.
        checkpointing: where to save the state while training, and to take up an interrupted one; None: nowhere.

    Returns:
        loss name, baseline (constant predictor on the held-out users), best held-out loss, their relative
        improvement, every check and the training losses.

    Raises:
        TslrecError: the loss is not finite.
    """
    run = FinetuningRun(model, training, held_out, config)
    if checkpointing:
        run.take_up(checkpointing)
    with progress(len(training) * config.epochs, "finetune", "user", initial=run.users_seen) as bar:
        while not run.finished:
            run.step()
            bar.update(run.users_seen - bar.n)
            if run.check_is_due:
                run.check()
                bar.set_postfix(held_out=f"{run.checks[-1]['loss']:.4f}", baseline=f"{run.baseline:.4f}")
                step(f"finetune: {run.users_seen} users seen, {config.loss} of held-out users "
                     f"{run.checks[-1]['loss']:.4f}, constant predictor {run.baseline:.4f}")
            if checkpointing:
                run.save_sometimes(checkpointing)
    model.load_state_dict(run.best, strict=False)
    lowest = min(check["loss"] for check in run.checks)
    return {"loss": config.loss, "baseline": run.baseline, "best": lowest,
            "improvement": 1 - lowest / run.baseline if run.baseline else 0.0,
            "held_out_users": len(held_out),
            "checks": run.checks, "training_losses": run.losses}


class FinetuningRun:
    """A fine-tuning as far as it has come."""

    def __init__(self, model: PreferenceModel, training: Samples, held_out: Samples, config: FinetuneConfig) -> None:
        model.start(training, config.loss, config.batch_tokens)
        self.model, self.training, self.held_out, self.config = model, training, held_out, config
        self.baseline = constant_loss(held_out.preferences, training.mean_preference, config.loss).mean().item()
        self.parameters = list(model.parameters())
        self.optimiser = torch.optim.AdamW([{"params": list(model.lora), "rate": config.learning_rate},
                                            {"params": list(model.head.parameters()),
                                             "rate": config.head_learning_rate}], weight_decay=0.0, fused=True)
        self.steps_per_epoch = math.ceil(len(training) / config.batch_size)
        self.losses: list[float] = []
        """Of all steps so far."""
        self.checks: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self._saved = time.monotonic()
        self._drawn, self._drawn_for = training, 0

    @property
    def epoch(self) -> int:
        """Number of full passes over the training users."""
        return len(self.losses) // self.steps_per_epoch

    @property
    def users_seen(self) -> int:
        """Training users seen so far, repeated ones included."""
        return self.epoch * len(self.training) + len(self.losses) % self.steps_per_epoch * self.config.batch_size

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many checks brought nothing better."""
        since_best = len(self.checks) - 1 - int(np.argmin([check["loss"] for check in self.checks] or [0]))
        return self.epoch >= self.config.epochs or since_best >= self.config.patience

    @property
    def check_is_due(self) -> bool:
        """Whether the held-out users are to be looked at after the last step."""
        in_epoch = len(self.losses) % self.steps_per_epoch
        return in_epoch % max(1, math.ceil(self.steps_per_epoch / self.config.checks)) == 0

    def step(self) -> None:
        """Learn from one batch, part by part, and update."""
        step, config = len(self.losses), self.config
        order = np.random.default_rng((config.seed, self.epoch)).permutation(len(self.training))
        begin = step % self.steps_per_epoch * config.batch_size
        rows = order[begin:begin + config.batch_size]
        # LoRA's dropout is the same in a run that was taken up here.
        torch.manual_seed((config.seed * 0x9E3779B97F4A7C15 + step * distributed.world_size() + distributed.rank())
                          % 2**63)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros(1, device=self.model.mean.device)
        own = self._samples().take(distributed.share(rows))
        for part in parts_of(own, config.batch_tokens):
            found = preference_loss(self.model(part.prompts), part.preferences.to(total.device), config.loss)
            loss = found.sum() / len(rows)
            loss.backward()
            total += loss.detach()
        distributed.sum_over_processes([total, *distributed.gradients(self.parameters)])
        if not torch.isfinite(total):
            raise TslrecError(f"the fine-tuning loss became {total.item()}; lower --learning-rate")
        torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP_NORM)
        scale = _scale(step, self.steps_per_epoch * config.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * scale
        self.optimiser.step()
        self.losses.append(total.item())

    def _samples(self) -> Samples:
        """Return the training samples of this epoch; epochs differ where windows are drawn."""
        if self._drawn_for != self.epoch:
            self._drawn, self._drawn_for = self.training.epoch(self.epoch), self.epoch
        return self._drawn

    def check(self) -> None:
        """Take the loss of the held-out users, and keep the weights if it is the lowest.

        Raises:
            TslrecError: the loss is not finite.
        """
        loss = held_out_loss(self.model, self.held_out, self.config)
        loss, = distributed.of_first_process([loss], self.model.mean.device)
        if not math.isfinite(loss):
            raise TslrecError(f"the held-out loss became {loss}; lower --learning-rate")
        if not self.checks or loss < min(check["loss"] for check in self.checks):
            self.best = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.checks.append({"step": len(self.losses), "loss": loss})

    def save_sometimes(self, checkpointing: Checkpointing) -> None:
        """Write the state to disk if the last time is long enough ago."""
        if time.monotonic() - self._saved > checkpointing.seconds:
            if distributed.rank() == 0:
                save_checkpoint(checkpointing.path, self.model, self.optimiser, self.best, {
                    "recipe": checkpointing.recipe, "losses": self.losses, "checks": self.checks})
            self._saved = time.monotonic()

    def take_up(self, checkpointing: Checkpointing) -> None:
        """Continue a fine-tuning of the same recipe.

        Raises:
            TslrecError: the processes don't find the same state.
        """
        found = load_checkpoint(checkpointing.path, checkpointing.recipe, self.model, self.optimiser)
        if found:
            self.best = found.best
            self.losses, self.checks = found.progress["losses"], found.progress["checks"]
        say_taken_up(checkpointing, found, self.epoch, len(self.losses) % self.steps_per_epoch,
                     self.model.mean.device)


def _scale(step: int, total: int) -> float:
    """Scale the learning rate: linear warm-up, then a cosine to zero."""
    warmup = max(1, round(_WARMUP_SHARE * total))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
