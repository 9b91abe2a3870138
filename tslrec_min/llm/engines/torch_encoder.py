"""The reference engine for encoders: any encoder that transformers loads, on any device of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...runtime.progress import progress
from ..encoders import Encoder
from ..padded_encoder import PaddedEncoder, group_tokens_on, similar_lengths
from ..prompts import TokenPrompt
from .torch_engine import TorchNetwork


class TorchEncoder(TorchNetwork):
    """Vectors of texts by torch; texts of similar length share a batch, padded to the longest."""

    def __init__(self, network: Any, encoder: Encoder, *, device: str | torch.device = "cpu", batch_tokens: int = 0,
                 dtype: torch.dtype | None = None) -> None:
        """Take a model.

        Args:
            network: what `model.load_encoder` returns; it is moved to `device`, converted to `dtype` and put into eval
                mode.
            encoder: its description.
            device: where to compute.
            batch_tokens: maximum number of tokens in a batch, padding included; 0: 512 on a CPU, else 8192.
            dtype: of weights and states; None: the network's. Pooling is always in float32.
        """
        self._network = network.to(device=device, dtype=dtype).eval()
        self._device = torch.device(device)
        self._padded = PaddedEncoder(self._network, encoder)
        self._batch_tokens = batch_tokens or group_tokens_on(self._device)
        self.width = int(network.config.hidden_size)
        self.context_length = encoder.max_tokens
        self.normalised = encoder.normalised

    def close(self) -> None:
        """Free the model; the engine can't be used after that."""
        super().close()
        del self._padded

    @torch.inference_mode()
    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        vectors = np.empty((len(prompts), self.width), dtype=np.float32)
        lengths = [len(prompt.token_ids) for prompt in prompts]
        with progress(len(prompts), "vectors", "text", leave=False) as bar:
            for rows in similar_lengths(lengths, self._batch_tokens, len(prompts)):
                vectors[rows] = self._padded.of_group([prompts[row].token_ids for row in rows]).cpu().numpy()
                bar.update(len(rows))
        return vectors
