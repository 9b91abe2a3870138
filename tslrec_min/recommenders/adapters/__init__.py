"""Adapters: item embeddings E [I+1, D] -> item table T [I+1, d], row 0 zero. One file each.

An adapter is a module; ``adapter()`` is the table. With its TrainConfig, its state dict is all that restores it. An
adapter that can give vectors to items that training didn't know has ``project``, see `projection.Projection`.
Every table starts with entries of about the same spread, `TrainConfig.table_spread`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...configs import TrainConfig
from ...data.dataset import Histories
from ...errors import TslrecError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .projection import Projection

_TABLES = ("none", "init", "recpca", "cca")
"""Adapters whose table is trained as it is: embeddings decide no more than where it starts."""


def build_adapter(config: TrainConfig, n_items: int, embeddings: np.ndarray | None, training: Histories) -> nn.Module:
    """Make an adapter.

    Args:
        config: names the adapter and its settings.
        n_items: number of items I.
        embeddings: float32 [I+1, D] with a zero row 0; None for ``none``.
        training: training histories, for ``recpca`` and ``cca``; no validation or test target may be in them.

    Raises:
        TslrecError: embeddings are missing, superfluous, of another shape, or too few for the settings.
    """
    from .cca import cca_table
    from .init import initialised_table
    from .none import TrainableTable
    from .recpca import recpca_table

    name = config.adapter
    if name == "none":
        if embeddings is not None:
            raise TslrecError("the adapter none takes no item embeddings; choose another one, or leave them out")
        return TrainableTable.random(n_items, config.width, config.table_spread)
    if embeddings is None:
        raise TslrecError(f"the adapter {name} needs item embeddings; give the folder that tslrec embed wrote")
    if len(embeddings) != n_items + 1:
        raise TslrecError(f"the item embeddings have {len(embeddings)} rows; expected {n_items + 1} "
                          "(the items and padding)")
    if name == "init":
        return initialised_table(embeddings, config)
    if name == "recpca":
        return recpca_table(embeddings, config, training)
    if name == "cca":
        return cca_table(embeddings, config, training)
    kind = _projection(name)
    return kind(kind.fit_features(embeddings, config), config)


def item_parameters(adapter: nn.Module) -> list[nn.Parameter]:
    """Return what is learned item by item: ids, or how far vectors are from where they started."""
    return [parameter for name, parameter in adapter.named_parameters() if name in ("weight", "ids")]


def restore_adapter(config: TrainConfig, state: dict[str, torch.Tensor]) -> nn.Module:
    """Rebuild a trained adapter from its configuration and its state dict."""
    from .components import Features
    from .none import TrainableTable

    if config.adapter in _TABLES:
        return TrainableTable.restore(state)
    prefix = "features."
    features = Features.restore({name.removeprefix(prefix): values for name, values in state.items()
                                 if name.startswith(prefix)})
    adapter = _projection(config.adapter)(features, config)
    adapter.load_state_dict(state)
    return adapter


def _projection(name: str) -> type[Projection]:
    from .alphafuse import AlphaFuse
    from .gate import GatedFusion
    from .linear import LinearProjection
    from .mlp import MLPProjection
    from .moe import MixtureOfExperts
    from .spectral import SpectralAttention
    from .whiten import WhitenedProjection

    kinds: dict[str, type[Projection]] = {
        "linear": LinearProjection, "mlp": MLPProjection, "whiten": WhitenedProjection, "alphafuse": AlphaFuse,
        "moe": MixtureOfExperts, "gate": GatedFusion, "spectral": SpectralAttention}
    return kinds[name]
