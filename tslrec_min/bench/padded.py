"""The usual way to run a language model on prompts: padded batches through transformers' network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..llm.model import last_hidden_states
from ..llm.prompts import TokenPrompt


def pooled_states(network: Any, prompts: Sequence[TokenPrompt], device: torch.device) -> torch.Tensor:
    """Return the pooled hidden states of prompts in one padded batch, float32 [B, D]; gradients flow.

    Tokens after a prompt's span are left out: in a causal model they change nothing in it.
    """
    longest = max(prompt.pool_stop for prompt in prompts)
    token_ids = torch.zeros(len(prompts), longest, dtype=torch.int64)  # [B, T]
    mask, spans = torch.zeros_like(token_ids), torch.zeros(token_ids.shape)
    for row, prompt in enumerate(prompts):
        token_ids[row, :prompt.pool_stop] = torch.tensor(prompt.token_ids[:prompt.pool_stop])
        mask[row, :prompt.pool_stop] = 1
        spans[row, prompt.pool_start:prompt.pool_stop] = 1 / (prompt.pool_stop - prompt.pool_start)
    hidden = last_hidden_states(network, token_ids.to(device), mask.to(device))
    return torch.einsum("btd,bt->bd", hidden.float(), spans.to(device))
