"""Adapters: item embeddings E [I+1, D] -> item table T [I+1, d], row 0 zero. One file each.

An adapter is restored from its TrainConfig and its state dict alone. The entries of every table start with about the
same spread, `TrainConfig.table_spread`.
"""

from __future__ import annotations

import numpy as np

from ...configs import TrainConfig
from ...data.dataset import Histories
from ...errors import TslrecError
from .alphafuse import AlphaFuse
from .base import Adapter
from .cca import CCATable
from .gate import GatedFusion
from .init import InitialisedTable
from .linear import LinearProjection
from .mlp import MLPProjection
from .moe import MixtureOfExperts
from .none import TrainableTable
from .recpca import RecPCATable
from .spectral import SpectralAttention
from .whiten import WhitenedProjection

ADAPTER_CLASSES: dict[str, type[Adapter]] = {
    "none": TrainableTable, "init": InitialisedTable, "recpca": RecPCATable, "cca": CCATable,
    "linear": LinearProjection, "mlp": MLPProjection, "whiten": WhitenedProjection, "alphafuse": AlphaFuse,
    "moe": MixtureOfExperts, "gate": GatedFusion, "spectral": SpectralAttention}


def build_adapter(config: TrainConfig, n_items: int, embeddings: np.ndarray | None, training: Histories) -> Adapter:
    """Make the adapter that a configuration names.

    Args:
        config: names the adapter and its settings.
        n_items: number of items I.
        embeddings: float32 [I+1, D] with a zero row 0; None for ``none``.
        training: see `Adapter.build`.

    Raises:
        TslrecError: embeddings are missing, not needed, of another shape, or too few for the settings.
    """
    name = config.adapter
    if name == "none":
        if embeddings is not None:
            raise TslrecError("the adapter none takes no item embeddings; choose another adapter, or omit them")
        embeddings = np.zeros((n_items + 1, 0), np.float32)
    if embeddings is None:
        raise TslrecError(f"the adapter {name} needs item embeddings; give the folder that tslrec embed wrote")
    if len(embeddings) != n_items + 1:
        raise TslrecError(f"the item embeddings have {len(embeddings)} rows; expected {n_items + 1} "
                          "(the items and padding)")
    return ADAPTER_CLASSES[name].build(config, embeddings, training)
