"""What every adapter is: a module that makes the item table."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import nn

from ...configs import TrainConfig
from ...data.dataset import Histories


class Adapter(nn.Module):
    """Base class of the adapters; calling one returns the item table, float [I+1, d], of which row 0 is zero."""

    @classmethod
    def build(cls, config: TrainConfig, embeddings: np.ndarray, training: Histories) -> Self:
        """Make an adapter that is not trained yet.

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
        """Return what is learned item by item: ids, or how far vectors are from where they started."""
        return []

    def project(self, embeddings: torch.Tensor) -> torch.Tensor | None:
        """Return the vectors of items that training didn't know; None if the adapter can't make any.

        Args:
            embeddings: float [n, D], of the model that embedded the catalogue; on the adapter's device.

        Returns:
            float [n, d]. Of an adapter without numbers of each item's own, an item of the catalogue gets its row of
            the table, up to rounding.

        Raises:
            TslrecError: they have another width.
        """
        return None
