"""The forward pass of encoders: texts of similar length side by side, padded to the longest, through transformers.

    texts -> groups -> token ids [B, T] and mask -> last hidden states [B, T, D] -> pooled states [B, D]

Fine-tuning and the torch engine of embedding share it. Encoders are small and their texts short, so that groups of
similar length waste little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .encoders import Encoder
from .prompts import TokenPrompt

_CPU_TEXTS = 32


class PaddedEncoder:
    """The pooled states of texts, with a graph unless torch is told otherwise."""

    def __init__(self, network: Any, encoder: Encoder, *, checkpointing: bool = False, group_tokens: int = 0) -> None:
        """Take a network.

        Args:
            network: what `model.load_encoder` returns, with or without LoRA layers, on its device.
            encoder: its description.
            checkpointing: keep only each layer's input for the backward pass, and compute the rest again there; for
                networks of type ``bert``.
            group_tokens: maximum number of tokens in a group, padding included; 0: as `group_tokens_on`. A longer text
                gets its own group.
        """
        self.network, self._encoder = network, encoder
        self._group_tokens = group_tokens or group_tokens_on(network.device)
        self._group_texts = _CPU_TEXTS if network.device.type == "cpu" else self._group_tokens
        self._padding = int(getattr(network.config, "pad_token_id", None) or 0)
        if checkpointing:
            for layer in network.encoder.layer:  # transformers' own way is for networks in training mode, with dropout
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)

    def pooled_states(self, prompts: Sequence[TokenPrompt]) -> torch.Tensor:
        """Return the vectors of at least one text, float32 [B, D], of length 1 if the encoder's are.

        Layers below the first one with LoRA are computed without a graph.
        """
        texts = [prompt.token_ids[:prompt.pool_stop] for prompt in prompts]
        groups = list(similar_lengths([len(text) for text in texts], self._group_tokens, self._group_texts))
        states = torch.cat([self.of_group([texts[row] for row in rows]) for rows in groups])
        places = np.argsort(np.concatenate(groups))
        states = states[torch.from_numpy(places).to(states.device)]  # [B, D], in the order of the prompts
        return F.normalize(states, dim=1) if self._encoder.normalised else states

    def of_group(self, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Return the pooled states of the token ids of B texts, side by side and not scaled, float32 [B, D]."""
        longest = max(map(len, texts))
        ids = torch.full((len(texts), longest), self._padding)  # int64 [B, T]
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        ids, mask = ids.to(self.network.device), mask.to(self.network.device)
        hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # [B, T, D]
        if self._encoder.pooling == "cls":
            return hidden[:, 0]
        if self._encoder.pooling == "last":
            return hidden[torch.arange(len(texts), device=hidden.device), mask.sum(dim=1) - 1]
        weights = mask.float() / mask.sum(dim=1, keepdim=True)  # [B, T]
        return (weights[:, None] @ hidden)[:, 0]


def group_tokens_on(device: torch.device) -> int:
    """Return how many tokens to compute at once on a device."""
    return 512 if device.type == "cpu" else 8192


def similar_lengths(lengths: Sequence[int], max_tokens: int, max_texts: int) -> Iterator[np.ndarray]:
    """Yield groups of texts of similar length, int64 [n] each, that hold every text once.

    Args:
        lengths: numbers of tokens, at least one.
        max_tokens: maximum number of tokens in a group that is padded to its longest text; a longer text is alone.
        max_texts: maximum number of texts in a group.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        full = stop - start == max_texts or stop == len(order)
        if full or (stop + 1 - start) * lengths[order[stop]] > max_tokens:
            yield order[start:stop]
            start = stop
