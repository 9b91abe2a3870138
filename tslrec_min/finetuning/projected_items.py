"""All items of a catalogue as candidates: their states when they were last read, under a live projection.

An item is read as a virtual user of one item. To have every item in a graph would take as much memory as the catalogue
is large, so that items are candidates by their state in a bank, and the map of `projection` above it is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..llm.prompts import TokenPrompt
from ..runtime import distributed
from .head import PreferenceModel, rows_of_parts
from .item_tokens import ItemTokens
from .projection import Projection

TOKEN_DROPOUT = 0.3
"""Share of the items' tokens that a training step leaves out."""


class ProjectedItems(nn.Module):
    """A language model with a head of categories (`PreferenceModel`) and the map of `projection` for next items."""

    bank: torch.Tensor
    """float32 [I+1, D]: every item's state when it was last read; row 0 is padding."""

    def __init__(self, base: PreferenceModel, tokens: ItemTokens, width: int) -> None:
        """Take a model on its device, the items' tokens and the number of dimensions d of the projected vectors."""
        super().__init__()
        self.base, device, n_items = base, base.mean.device, len(tokens.indptr) - 1
        self.item_tokens = tokens
        self.width = min(width, base.mean.numel(), max(n_items - 1, 1))
        self.weight = nn.Parameter(torch.zeros(self.width, base.mean.numel(), device=device))
        self.bias = nn.Parameter(torch.zeros(self.width, device=device))
        self.tokens = nn.Parameter(torch.zeros(len(tokens.ids), self.width, device=device))
        self.register_buffer("bank", torch.zeros(n_items + 1, base.mean.numel(), device=device))
        self._places = torch.from_numpy(tokens.places).to(device)
        self._starts = torch.from_numpy(tokens.indptr[:-1]).to(device)
        self._token_weights = torch.from_numpy(tokens.weights[tokens.places]).to(device)

    @property
    def map_parameters(self) -> list[nn.Parameter]:
        """Parameters of the projection."""
        return [self.weight, self.bias, self.tokens]

    def table(self, states: torch.Tensor, token_dropout: float = 0.0) -> torch.Tensor:
        """Return the vectors of all items, float32 [I+1, d], by their states, float32 [I+1, D]; row 0 is zero."""
        projected = states[1:] @ self.weight.T + self.bias
        if len(self.tokens):
            kept = nn.functional.dropout(self._token_weights, token_dropout, training=token_dropout > 0)
            projected = projected + nn.functional.embedding_bag(self._places, self.tokens, self._starts, mode="sum",
                                                                per_sample_weights=kept)
        return nn.functional.pad(nn.functional.normalize(projected, dim=1), (0, 0, 1, 0))

    @torch.no_grad()
    def read(self, prompts: Sequence[TokenPrompt], batch_tokens: int) -> None:
        """Fill the bank with the states of all items by their prompts, [I]; the processes share them."""
        own = distributed.share(np.arange(len(prompts)))
        shared = [prompts[row] for row in own]
        self.bank.zero_()
        for rows in rows_of_parts(shared, batch_tokens):
            places = torch.from_numpy(own[rows] + 1).to(self.bank.device)
            self.bank[places] = self.base.reader.pooled_states([shared[row] for row in rows])
        distributed.sum_over_processes([self.bank])

    @torch.no_grad()
    def start_projection(self) -> None:
        """Start the projection from the states in the bank."""
        start = Projection.start(self.bank[1:].cpu().numpy(), self.width, self.item_tokens)
        self.weight[:len(start.weight)] = torch.from_numpy(start.weight).to(self.weight)
        self.bias[:len(start.bias)] = torch.from_numpy(start.bias).to(self.bias)

    def projection(self) -> dict[str, torch.Tensor]:
        """Return the tensors of `Projection`, as they are stored."""
        return {"weight": self.weight.detach().cpu(), "bias": self.bias.detach().cpu(),
                "token_ids": torch.from_numpy(self.item_tokens.ids),
                "token_weights": torch.from_numpy(self.item_tokens.weights), "tokens": self.tokens.detach().cpu()}
