"""The base class of the backbones: histories -> states. Scores are states @ item table^T."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ...llm.elementwise import for_kernels


class Backbone(nn.Module):
    """Subclasses are built from a TrainConfig."""

    objective: ClassVar[str] = "next"
    """What it learns: ``next`` (the item after each position) or ``cloze`` (hidden items, from both sides)."""
    packable: ClassVar[bool] = False
    """Whether it has `packed_states`."""

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all positions.

        Args:
            items: int64 [B, T], histories padded on the right with 0; for ``cloze``, I + 1 is a hidden item.
            lengths: int64 [B], items in each history.
            item_table: float [I+1, d]; row 0 is padding.

        Returns:
            float [B, T, d]; at padding they are finite, but meaningless.
        """
        raise NotImplementedError

    def packs(self, item_table: torch.Tensor) -> bool:
        """Return whether `packed_states` is there and faster than `forward` for an item table, float [I+1, d]."""
        return self.packable and for_kernels(item_table, *self.parameters())

    def packed_states(self, items: torch.Tensor, lengths: np.ndarray, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states of all items of histories that lie end to end, float [N, d].

        Args:
            items: int64 [N], the histories one after the other.
            lengths: int64 [B], items in each history, at least 1.
            item_table: float [I+1, d]; row 0 is padding.
        """
        raise NotImplementedError

    def final_states(self, items: torch.Tensor, lengths: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """Return the states that score the item after each history, float [B, d]; arguments as for `forward`."""
        states = self(items, lengths, item_table)
        return states[torch.arange(len(states), device=states.device), (lengths - 1).clamp_min(0)]
