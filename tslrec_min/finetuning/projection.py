"""Item embeddings as a linear map of the tuned model's states: the vectors whose cosines foretell next items.

    e = B (h - m) / |B (h - m)|

B [d, D] is trained with the language model. It starts as the half-whitened principal components of the states before
fine-tuning, the vectors of ``content`` (`recommenders.counting.content`), so that training starts from what needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import TslrecError
from ..recommenders.adapters.components import PrincipalComponents

if TYPE_CHECKING:
    from .artifact import TunedModel

FILE = "projection.safetensors"


@dataclass(frozen=True)
class Projection:
    """The linear map of a fine-tuned model's states."""

    weight: np.ndarray
    """float64 [d, D]."""
    bias: np.ndarray
    """float64 [d], -B m."""

    @classmethod
    def start(cls, states: np.ndarray, width: int) -> Projection:
        """Return half-whitened principal components of states, float32 [n, D], at most `width` of them.

        Projected vectors have a mean squared length of 1 before they are scaled.
        """
        fitted = PrincipalComponents.fit(np.concatenate([np.zeros_like(states[:1]), states]))
        count = max(min(width, fitted.rank), 1)
        weight = (fitted.directions[:, :count] / np.maximum(fitted.variances[:count], 1e-30) ** 0.25).T
        projected = fitted.centred @ weight.T
        weight /= max(np.sqrt((projected ** 2).sum(axis=1).mean()), 1e-12)
        return cls(weight, -weight @ np.asarray(fitted.mean, np.float64))

    @classmethod
    def load(cls, tuned: TunedModel) -> Projection | None:
        """Read the projection of a finetune artifact, whose files were compared with their hashes; None without one.

        Raises:
            TslrecError: it can't be read.
        """
        path = tuned.artifact.path / FILE
        if not path.is_file():
            return None
        try:
            tensors = load_file(path)
            return cls(tensors["weight"].astype(np.float64), tensors["bias"].astype(np.float64))
        except (OSError, SafetensorError, KeyError) as error:
            raise TslrecError(f"{path} can't be read as the projection of a fine-tuned model: {error}; run tslrec "
                              "finetune again") from None

    def vectors(self, states: np.ndarray) -> np.ndarray:
        """Return the projected vectors of pooled states, float [n, D]: float32 [n, d], of length 1."""
        projected = states.astype(np.float64) @ self.weight.T + self.bias
        return (projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)).astype(np.float32)
