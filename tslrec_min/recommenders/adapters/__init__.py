"""Adapters: item embeddings E [I+1, D] -> item table T [I+1, d], row 0 zero. One file each.

With its TrainConfig, an adapter's state dict is all that restores it. Every table starts with entries of about the same
spread, `TrainConfig.table_spread`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...configs import TrainConfig
from ...data.dataset import Histories
from ...errors import TslrecError

if TYPE_CHECKING:
    from .base import Adapter


def adapter_classes() -> dict[str, type[Adapter]]:
    """Return the class of every adapter by its name."""
    from .alphafuse import AlphaFuse
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

    return {"none": TrainableTable, "init": InitialisedTable, "recpca": RecPCATable, "cca": CCATable,
            "linear": LinearProjection, "mlp": MLPProjection, "whiten": WhitenedProjection, "alphafuse": AlphaFuse,
            "moe": MixtureOfExperts, "gate": GatedFusion, "spectral": SpectralAttention}


def build_adapter(config: TrainConfig, n_items: int, embeddings: np.ndarray | None, training: Histories) -> Adapter:
    """Make the adapter that a configuration names.

    Args:
        config: names the adapter and its settings.
        n_items: number of items I.
        embeddings: float32 [I+1, D] with a zero row 0; None for ``none``.
        training: training histories, for ``recpca`` and ``cca``; no validation or test target may be in them.

    Raises:
        TslrecError: embeddings are missing, superfluous, of another shape, or too few for the settings.
    """
    name = config.adapter
    if name == "none":
        if embeddings is not None:
            raise TslrecError("the adapter none takes no item embeddings; choose another one, or leave them out")
        embeddings = np.zeros((n_items + 1, 0), np.float32)
    if embeddings is None:
        raise TslrecError(f"the adapter {name} needs item embeddings; give the folder that tslrec embed wrote")
    if len(embeddings) != n_items + 1:
        raise TslrecError(f"the item embeddings have {len(embeddings)} rows; expected {n_items + 1} "
                          "(the items and padding)")
    return adapter_classes()[name].build(config, embeddings, training)
