"""The language model with a linear head on its pooled hidden state, and batches for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ..llm.lora import lora_layers
from ..llm.prompts import TokenPrompt
from .losses import constant_outputs
from .samples import Samples

_STANDARDISED_ON = 64


class PooledStates(Protocol):
    """What reads prompts: a `PackedDecoder` or a `PaddedEncoder`."""

    network: Any
    """The transformers model, on its device."""

    def pooled_states(self, prompts: Sequence[TokenPrompt]) -> torch.Tensor:
        """Return the pooled states of prompts, float32 [B, D], with a graph to the LoRA layers."""


class PreferenceModel(nn.Module):
    """A language model with a linear head on its pooled hidden state; its parameters are the trainable ones.

    Pooled states of different users are nearly parallel, and a head trained on them directly spends its steps on
    what they share. So they are standardised with constants that are fixed before training; `linear_head` folds them
    into the head, which stays linear in the state.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, reader: PooledStates, n_categories: int) -> None:
        """Take what reads prompts, with its LoRA layers."""
        super().__init__()
        width, device = reader.network.config.hidden_size, reader.network.device
        self.reader = reader  # no module: the network's own weights are none of this model's
        self.lora = nn.ParameterList(matrix for layer in lora_layers(reader.network).values()
                                     for matrix in (layer.lora_A, layer.lora_B))
        self.head = nn.Linear(width, n_categories, device=device)
        self.register_buffer("mean", torch.zeros(width, device=device))
        self.register_buffer("scale", torch.ones(width, device=device))

    @torch.no_grad()
    def start(self, samples: Samples, loss: str, batch_tokens: int) -> None:
        """Fix the standardisation on the first users and make the head predict the mean preference for everyone."""
        first = samples.take(np.arange(min(_STANDARDISED_ON, len(samples))))
        states = torch.cat([self.reader.pooled_states(part.prompts) for part in parts_of(first, batch_tokens)])
        self.mean.copy_(states.mean(dim=0))
        self.scale.copy_(states.std(dim=0, unbiased=False).clamp_min(1e-4 * states.abs().mean()))
        nn.init.zeros_(self.head.weight)
        self.head.bias.copy_(constant_outputs(samples.mean_preference, loss))

    def forward(self, prompts: list[TokenPrompt]) -> torch.Tensor:
        """Return the head's outputs, float32 [B, K]."""
        return self.preferences(self.reader.pooled_states(prompts))

    def preferences(self, states: torch.Tensor) -> torch.Tensor:
        """Return the head's outputs for pooled states, float32 [B, D]: float32 [B, K]."""
        return self.head((states - self.mean) / self.scale)

    def linear_head(self) -> dict[str, torch.Tensor]:
        """Return the head on the plain pooled state: ``weight`` float32 [K, D] and ``bias`` [K]."""
        weight = self.head.weight.detach() / self.scale
        return {"weight": weight.cpu(), "bias": (self.head.bias.detach() - weight @ self.mean).cpu()}


def parts_of(samples: Samples, batch_tokens: int) -> list[Samples]:
    """Split samples as `rows_of_parts` does."""
    return [samples.take(rows) for rows in rows_of_parts(samples.prompts, batch_tokens)]


def rows_of_parts(prompts: Sequence[TokenPrompt], batch_tokens: int) -> list[np.ndarray]:
    """Return the rows, int64, of parts of at most `batch_tokens` tokens, prompts of similar length together.

    Only attention batches prompts, and except in its CPU kernel it pads them to the longest.
    """
    lengths = np.array([prompt.pool_stop for prompt in prompts])
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    if not len(ends):
        return []
    # As few parts as the limit allows, of about the same size: small matrix products are slow.
    size = ends[-1] / math.ceil(ends[-1] / batch_tokens)
    parts: list[list[int]] = []
    total = 0
    for row in order:
        if not parts or total + lengths[row] > batch_tokens or total >= size:
            parts.append([])
            total = 0
        parts[-1].append(row)
        total += lengths[row]
    return [np.array(part) for part in parts]
