"""Information reconstruction: user-level fine-tuning of the language model (TSLRec, arXiv 2406.00333, stage 1).

One sample per user: the titles of the training history in, the user's distribution over latent categories out,
through a linear head on the pooled hidden state. The head starts as the constant predictor "mean distribution of
the training users", which is also the baseline that is logged beside every held-out loss.

Known of the paper are the task, the linear head and a mean squared error; the prompt, pooling, K and the choice
of losses are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from .configs import FinetuneConfig
from .errors import TslrecError
from .llm import pooled_states
from .losses import constant_loss, constant_outputs, preference_loss
from .prompts import TokenPrompt
from .samples import Samples

_WARMUP_SHARE = 0.1
_CLIP_NORM = 1.0
_STANDARDISED_ON = 64
_POOL_OF_BATCHES = 8
"""Users are sorted by prompt length within so many batches: little padding, and batches still differ."""


class PreferenceModel(nn.Module):
    """A language model with a linear head on its pooled hidden state.

    Pooled states of different users are nearly parallel, and a head trained on them directly spends its steps on
    what they share. So they are standardised by numbers that are fixed before training; `linear_head` folds these
    into the head, which stays linear in the state.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, width: int, n_categories: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(width, n_categories)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @torch.no_grad()
    def start(self, samples: Samples, loss: str, micro_batch: int) -> None:
        """Fix the standardisation on the first users and make the head predict the mean preference for everyone."""
        self.eval()
        prompts = samples.prompts[:_STANDARDISED_ON]
        states = torch.cat([self.pool(prompts[at:at + micro_batch]) for at in range(0, len(prompts), micro_batch)])
        self.mean.copy_(states.mean(dim=0))
        self.scale.copy_(states.std(dim=0, unbiased=False).clamp_min(1e-4 * states.abs().mean()))
        nn.init.zeros_(self.head.weight)
        self.head.bias.copy_(constant_outputs(samples.preferences.mean(dim=0), loss))

    def pool(self, prompts: list[TokenPrompt]) -> torch.Tensor:
        """Return the pooled hidden states, float32 [B, D]."""
        return pooled_states(self.network, prompts, self.head.weight.device)

    def forward(self, prompts: list[TokenPrompt]) -> torch.Tensor:
        """Return the head's outputs, float32 [B, K]."""
        return self.head((self.pool(prompts) - self.mean) / self.scale)

    def linear_head(self) -> dict[str, torch.Tensor]:
        """Return the head on the plain pooled state: ``weight`` float32 [K, D] and ``bias`` [K]."""
        weight = self.head.weight.detach() / self.scale
        return {"weight": weight.cpu(), "bias": (self.head.bias.detach() - weight @ self.mean).cpu()}


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the frozen weights.

    ``auto`` is bfloat16 on GPUs that have it and on CPUs with matrix instructions for it (AMX), else float32:
    with AVX-512 alone bfloat16 is slower than float32 (``benchmarks/precision.py``).
    """
    if name == "fp32":
        return torch.float32
    if name == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return torch.float32
    return torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16") else torch.float32


def _batches(samples: Samples, batch_size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of every batch of one epoch, batches of similar prompt lengths."""
    lengths = np.array([len(prompt.token_ids) for prompt in samples.prompts])
    order = random.permutation(len(samples))
    pool = _POOL_OF_BATCHES * batch_size
    batches = []
    for start in range(0, len(order), pool):
        rows = order[start:start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[at:at + batch_size] for at in range(0, len(rows), batch_size)]
    for index in random.permutation(len(batches)):
        yield batches[index]


@torch.no_grad()
def held_out_loss(model: PreferenceModel, samples: Samples, config: FinetuneConfig) -> float:
    """Return the mean loss over users."""
    model.eval()
    order = np.argsort([len(prompt.token_ids) for prompt in samples.prompts], kind="stable")
    total = 0.0
    for start in range(0, len(order), config.batch_size):
        batch = samples.take(order[start:start + config.batch_size])
        outputs = model(batch.prompts)
        total += preference_loss(outputs, batch.preferences.to(outputs.device), config.loss).sum().item()
    return total / len(samples)


def fine_tune(model: PreferenceModel, training: Samples, held_out: Samples, config: FinetuneConfig
              ) -> dict[str, Any]:
    """Train LoRA and head in place; the weights of the best held-out check stay.

    Args:
        model: its network has LoRA layers; everything else in it is frozen.
        training, held_out: the users.
        config: optimisation settings.

    Returns:
        loss name, baseline (constant predictor on the held-out users), best held-out loss, their relative
        improvement, every check and the training losses.

    Raises:
        TslrecError: the loss is not finite.
    """
    model.start(training, config.loss, config.micro_batch)
    baseline = constant_loss(held_out.preferences, training.preferences.mean(dim=0), config.loss).mean().item()
    lora = [parameter for parameter in model.network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW([{"params": lora, "lr": config.learning_rate},
                                   {"params": model.head.parameters(), "lr": config.head_learning_rate}],
                                  weight_decay=0.0)
    steps_in_epoch = math.ceil(len(training) / config.batch_size)
    total = steps_in_epoch * config.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _scale(step, total))
    check_every = max(1, math.ceil(steps_in_epoch / config.checks))
    random = np.random.default_rng(config.seed)
    losses: list[float] = []
    checks: list[dict[str, float]] = []
    best: dict[str, torch.Tensor] = {}
    progress = tqdm(total=len(training) * config.epochs, desc="finetune", unit="user", disable=None)
    for epoch in range(config.epochs):
        samples = training.epoch(epoch)
        for rows in _batches(samples, config.batch_size, random):
            losses.append(_step(model, samples, rows, optimiser, config))
            schedule.step()
            progress.update(len(rows))
            in_epoch = len(losses) - epoch * steps_in_epoch
            if in_epoch % check_every and in_epoch != steps_in_epoch:
                continue
            loss = held_out_loss(model, held_out, config)
            if not math.isfinite(loss):
                raise TslrecError(f"the held-out loss became {loss}; lower --learning-rate")
            if not checks or loss < min(check["loss"] for check in checks):
                best = {name: value.detach().clone() for name, value in model.named_parameters()
                        if value.requires_grad}
            checks.append({"step": len(losses), "loss": loss})
            progress.set_postfix(held_out=f"{loss:.4f}", baseline=f"{baseline:.4f}")
            if _checks_since_best(checks) >= config.patience:
                break
        if _checks_since_best(checks) >= config.patience:
            break
    progress.close()
    model.load_state_dict(best, strict=False)
    lowest = min(check["loss"] for check in checks)
    return {"loss": config.loss, "baseline": baseline, "best": lowest,
            "improvement": 1 - lowest / baseline if baseline else 0.0,
            "training_users": len(training), "held_out_users": len(held_out),
            "training_tokens": sum(len(prompt.token_ids) for prompt in training.prompts),
            "checks": checks, "training_losses": losses}


def _checks_since_best(checks: list[dict[str, float]]) -> int:
    return len(checks) - 1 - int(np.argmin([check["loss"] for check in checks]))


def _scale(step: int, total: int) -> float:
    """Scale the learning rate: linear warm-up, then a cosine to zero."""
    warmup = max(1, round(_WARMUP_SHARE * total))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _step(model: PreferenceModel, training: Samples, rows: np.ndarray, optimiser: torch.optim.Optimizer,
          config: FinetuneConfig) -> float:
    """Accumulate the gradients of one batch, micro-batch by micro-batch, and update; return its mean loss."""
    model.train()
    optimiser.zero_grad(set_to_none=True)
    total = 0.0
    for start in range(0, len(rows), config.micro_batch):
        batch = training.take(rows[start:start + config.micro_batch])
        outputs = model(batch.prompts)
        loss = preference_loss(outputs, batch.preferences.to(outputs.device), config.loss).sum() / len(rows)
        loss.backward()
        total += loss.item()
    if not math.isfinite(total):
        raise TslrecError(f"the fine-tuning loss became {total}; lower --learning-rate")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.nn.utils.clip_grad_norm_(trainable, _CLIP_NORM)
    optimiser.step()
    return total
