"""The reference engine: padded batches through the transformers model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..llm import pooled_states
from ..prompts import TokenPrompt
from . import BatchedEngine, batches_of, progress_bar


class TorchEngine(BatchedEngine):
    """Pooled states by torch."""

    def __init__(self, network: Any, *, device: str | torch.device = "cpu", batch_tokens: int = 2048) -> None:
        """Take a model.

        Args:
            network: `LanguageModel.network`; it is moved to `device` and put into eval mode.
            device: where to compute.
            batch_tokens: the most tokens in a batch, padding included.
        """
        self._network = network.to(device).eval()
        self._device = torch.device(device)
        self._batch_tokens = batch_tokens

    @property
    def width(self) -> int:
        """D, the length of a state."""
        return int(self._network.config.hidden_size)

    @property
    def context_length(self) -> int:
        """The most tokens a prompt may have."""
        return int(self._network.config.max_position_embeddings)

    @torch.inference_mode()
    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        states = np.empty((len(prompts), self.width), dtype=np.float32)
        lengths = [len(prompt.token_ids) for prompt in prompts]
        with progress_bar(len(prompts)) as bar:
            for batch in batches_of(lengths, self._batch_tokens, len(prompts), padded=True):
                states[batch] = pooled_states(self._network, prompts[batch], self._device).cpu().numpy()
                bar.update(batch.stop - batch.start)
        return states

    def close(self) -> None:
        """Let go of the model."""
        self._network = None
