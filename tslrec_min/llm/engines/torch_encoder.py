"""The reference engine for encoders: any encoder that transformers loads, on any device of torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...runtime.progress import progress
from ..encoders import Encoder
from ..model import load_encoder
from ..prompts import TokenPrompt
from .torch_engine import TorchNetwork

_CPU_TOKENS, _GPU_TOKENS = 512, 8192


class TorchEncoder(TorchNetwork):
    """Vectors of texts by torch; texts of similar length share a batch, padded to the longest."""

    def __init__(self, folder: Path, encoder: Encoder, *, device: str | torch.device = "cpu", batch_tokens: int = 0,
                 dtype: torch.dtype = torch.float32) -> None:
        """Load a model.

        Args:
            folder: in the format of transformers.
            encoder: its description.
            device: where to compute.
            batch_tokens: maximum number of tokens in a batch, padding included; 0: 512 on a CPU, else 8192.
            dtype: of weights and states. Pooling is always in float32.

        Raises:
            TslrecError: the folder is damaged, or holds code of its own.
        """
        self._network = load_encoder(folder, dtype).to(device)
        self._device = torch.device(device)
        self._pooling = encoder.pooling
        self._batch_tokens = batch_tokens or (_CPU_TOKENS if self._device.type == "cpu" else _GPU_TOKENS)
        self._padding = int(getattr(self._network.config, "pad_token_id", None) or 0)
        self.width = int(self._network.config.hidden_size)
        self.context_length = encoder.max_tokens
        self.normalised = encoder.normalised

    @torch.inference_mode()
    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        vectors = np.empty((len(prompts), self.width), dtype=np.float32)
        lengths = np.array([len(prompt.token_ids) for prompt in prompts])
        order = np.argsort(lengths, kind="stable")
        with progress(len(prompts), "vectors", "text", leave=False) as bar:
            start = 0
            for stop in range(1, len(order) + 1):
                if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > self._batch_tokens:
                    rows = order[start:stop]
                    vectors[rows] = self._embed_batch([prompts[row].token_ids for row in rows]).cpu().numpy()
                    bar.update(len(rows))
                    start = stop
        return vectors

    def _embed_batch(self, texts: list[tuple[int, ...]]) -> torch.Tensor:
        """Return the pooled states of B texts, float32 [B, D]."""
        longest = max(map(len, texts))
        ids = torch.full((len(texts), longest), self._padding)  # int64 [B, T]
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        hidden = self._network(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # [B, T, D]
        if self._pooling == "cls":
            return hidden[:, 0]
        if self._pooling == "last":
            return hidden[torch.arange(len(texts), device=self._device), mask.sum(dim=1) - 1]
        weights = mask.float() / mask.sum(dim=1, keepdim=True)  # [B, T]
        return (weights[:, None] @ hidden)[:, 0]
