"""The base class of the adapters."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import nn

from ...configs import TrainConfig
from ...data.dataset import Histories


class Adapter(nn.Module):
    """A module that makes the item table: calling it returns float [I+1, d], row 0 zero."""

    @classmethod
    def build(cls, config: TrainConfig, embeddings: np.ndarray, training: Histories) -> Self:
        """Make an untrained adapter.

        Args:
            config: its settings.
            embeddings: float32 [I+1, D] with a zero row 0; D is 0 for the adapter ``none``.
            training: training histories; no validation or test target may be in them.

        Raises:
            TslrecError: the embeddings are too few for the settings, or the histories too short.
        """
        raise NotImplementedError

    @classmethod
    def restore(cls, config: TrainConfig, state: dict[str, torch.Tensor]) -> Self:
        """Rebuild a trained adapter from its configuration and its state dict."""
        raise NotImplementedError

    def item_parameters(self) -> list[nn.Parameter]:
        """Return the parameters with a row for each item: ids, or distances from the starting table."""
        return []

    def project(self, embeddings: torch.Tensor) -> torch.Tensor | None:
        """Return the vectors of new items; None if the adapter can't make any.

        Args:
            embeddings: float [n, D], of the model that embedded the catalogue; on the adapter's device.

        Returns:
            float [n, d]. Unless the adapter has `item_parameters`, an item of the catalogue gets its row of the table,
            up to rounding.

        Raises:
            TslrecError: the embeddings have another width.
        """
        return None
