"""Sequential recommenders: one file per backbone, and the combination of a backbone with an adapter.

A backbone turns histories into states; scores are always ``states @ item_table.T``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...configs import TrainConfig
from ..adapters.base import Adapter
from .backbone import Backbone
from .bert4rec import BERT4Rec
from .bsarec import BSARec
from .gru4rec import GRU4Rec
from .sasrec import SASRec

BACKBONES: dict[str, Callable[[TrainConfig], Backbone]] = {"sasrec": SASRec, "gru4rec": GRU4Rec, "bert4rec": BERT4Rec,
                                                           "bsarec": BSARec}


class SequentialRecommender(nn.Module):
    """A backbone and the adapter that makes its item table."""

    def __init__(self, adapter: Adapter, backbone: Backbone, max_len: int) -> None:
        super().__init__()
        self.adapter = adapter
        self.backbone = backbone
        self.max_len = max_len

    def item_table(self) -> torch.Tensor:
        """Return the item table, float [I+1, d]; row 0 is padding and zero."""
        return self.adapter()


def build_recommender(adapter: Adapter, config: TrainConfig) -> SequentialRecommender:
    """Combine an adapter with a freshly initialised backbone."""
    return SequentialRecommender(adapter, BACKBONES[config.model](config), config.max_len)
