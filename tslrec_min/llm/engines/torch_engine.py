"""The reference engine: the transformers model, on any device of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...runtime.progress import progress
from ..packing import PackedBatch, packed_batches, shared_prefix
from ..prompts import TokenPrompt
from .engine import BatchedEngine

_CPU_TOKENS, _GPU_TOKENS = 256, 2048


class TorchNetwork(BatchedEngine):
    """What the engines of transformers' models share."""

    _network: Any
    _device: torch.device

    def describe(self) -> dict[str, Any]:
        """Return the settings that `embed` computes with."""
        return {"device": str(self._device), "precision": str(self._network.dtype).removeprefix("torch."),
                "batch_tokens": self._batch_tokens}

    def close(self) -> None:
        """Free the model; the engine can't be used after that."""
        self._network = None


class TorchEngine(TorchNetwork):
    """Pooled states by torch."""

    def __init__(self, network: Any, *, device: str | torch.device = "cpu", batch_tokens: int = 0,
                 dtype: torch.dtype | None = None) -> None:
        """Take a model.

        Args:
            network: `LanguageModel.network`; it is moved to `device`, converted to `dtype` and put into eval mode.
            device: where to compute.
            batch_tokens: maximum number of tokens in a batch; 0: 256 on a CPU, else 2048. Attention is computed
                between all tokens of a batch and masked.
            dtype: of weights and states; None: the network's. Pooling is always in float32.
        """
        self._network = network.to(device=device, dtype=dtype).eval()
        self._device = torch.device(device)
        self._batch_tokens = batch_tokens or (_CPU_TOKENS if self._device.type == "cpu" else _GPU_TOKENS)
        self.width = int(network.config.hidden_size)
        self.context_length = int(network.config.max_position_embeddings)

    @torch.inference_mode()
    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        from transformers import DynamicCache

        prefix = shared_prefix(prompts)
        cache = DynamicCache()
        before = torch.empty(0, self.width, dtype=self._network.dtype, device=self._device)  # [P, D]
        if prefix:
            positions = torch.arange(prefix)
            before = self._hidden(torch.tensor(prompts[0].token_ids[:prefix]), positions,
                                  torch.ones(prefix, prefix, dtype=torch.bool).tril(), positions, cache)
        states = np.empty((len(prompts), self.width), dtype=np.float32)
        with progress(len(prompts), "hidden states", "prompt", leave=False) as bar:
            for batch in packed_batches(prompts, prefix, self._batch_tokens, len(prompts)):
                states[batch.rows] = self._embed_batch(batch, before, cache).cpu().numpy()
                bar.update(len(batch.spans))
        return states

    def _embed_batch(self, batch: PackedBatch, before: torch.Tensor, cache: Any) -> torch.Tensor:
        """Return the states, float32 [B, D]; `before` [P, D] are those of the prefix, which `cache` holds."""
        prefix, positions = len(before), torch.from_numpy(batch.positions).long()
        hidden = before[:0]
        seen = np.concatenate([np.ones((len(positions), prefix), dtype=bool), batch.paths()], axis=1)  # [T, P + T]
        if len(positions):
            hidden = self._hidden(torch.from_numpy(batch.tokens).long(), positions, torch.from_numpy(seen),
                                  torch.cat([torch.arange(prefix), positions]), cache)
            cache.crop(-len(positions))  # back to the prefix
        weights = torch.zeros(len(batch.spans), prefix + len(positions))
        for row, span in enumerate(batch.spans):
            weights[row, torch.from_numpy(span)] = 1 / len(span)
        return weights.to(self._device) @ torch.cat([before, hidden]).float()

    def _hidden(self, tokens: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, key_positions: torch.Tensor,
                cache: Any) -> torch.Tensor:
        """Return the states after the final norm, [T, D] in the network's dtype; they join the C tokens in the cache.

        Tokens and positions are int64 [T], the attention mask `seen` is bool [T, C + T], `key_positions` int64 [C + T].
        """
        masks = {"full_attention": seen}
        config = self._network.config
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            near = positions[:, None] - key_positions[None] < config.sliding_window
            masks["sliding_attention"] = seen & near
        moved = {name: mask.to(self._device)[None, None] for name, mask in masks.items()}  # [1, 1, T, C + T]
        return self._network.model(
            input_ids=tokens.to(self._device)[None], position_ids=positions.to(self._device)[None],
            attention_mask=moved if len(moved) > 1 else moved["full_attention"], past_key_values=cache,
            use_cache=True).last_hidden_state[0]
