"""Adapters: item embeddings E [I+1, D] -> item table T [I+1, d], row 0 zero. One file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import TslrecError

if TYPE_CHECKING:
    import torch
    from torch import nn


def build_adapter(name: str, n_items: int, width: int, embeddings: np.ndarray | None) -> nn.Module:
    """Make an adapter.

    Args:
        name: ``none``, ``linear`` or ``init``.
        n_items: number of items I.
        width: d.
        embeddings: float32 [I+1, D] with a zero row 0; None for ``none``.

    Raises:
        TslrecError: embeddings are missing, superfluous or of another shape.
    """
    from .init import initialised_table
    from .linear import LinearProjection
    from .none import TrainableTable

    if name == "none":
        if embeddings is not None:
            raise TslrecError("the adapter none takes no item embeddings; choose linear or init, or leave them out")
        return TrainableTable.random(n_items, width)
    if embeddings is None:
        raise TslrecError(f"the adapter {name} needs item embeddings; give the folder that tslrec embed wrote")
    if len(embeddings) != n_items + 1:
        raise TslrecError(f"the item embeddings have {len(embeddings)} rows; expected {n_items + 1} "
                          "(the items and padding)")
    if name == "linear":
        return LinearProjection.fit(embeddings, width)
    return initialised_table(embeddings, width)


def restore_adapter(name: str, state: dict[str, torch.Tensor]) -> nn.Module:
    """Rebuild a trained adapter from its state dict."""
    from .linear import LinearProjection
    from .none import TrainableTable

    return LinearProjection.restore(state) if name == "linear" else TrainableTable.restore(state)
