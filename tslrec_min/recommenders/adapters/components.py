"""Principal components of the item embeddings, and frozen features of items for the adapters.

Both are fitted in float64 without the padding row. The largest entry of a component is made positive, so that the same
embeddings give the same features on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...errors import TslrecError


def oriented(directions: np.ndarray) -> np.ndarray:
    """Return float [D, k] with the sign of each column chosen so that its largest entry is positive."""
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    return directions * np.where(largest < 0, -1.0, 1.0)


@dataclass(frozen=True)
class PrincipalComponents:
    """The principal components of a catalogue, largest variance first."""

    mean: np.ndarray
    """float64 [D]."""
    centred: np.ndarray
    """float64 [I, D], the items less their mean."""
    directions: np.ndarray
    """float64 [D, D], orthonormal columns."""
    variances: np.ndarray
    """float64 [D], never negative; with the divisor I."""

    @classmethod
    def fit(cls, embeddings: np.ndarray, count: int = 0, flag: str = "") -> PrincipalComponents:
        """Fit float [I+1, D], whose row 0 is padding.

        Raises:
            TslrecError: there are fewer than `count` components; `flag` asked for them.
        """
        centred = embeddings[1:].astype(np.float64)
        mean = centred.mean(axis=0)
        centred -= mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
        fitted = cls(mean, centred, oriented(directions[:, ::-1]), np.maximum(variances[::-1], 0.0))
        if count > fitted.rank:
            raise TslrecError(f"{flag} {count} is more than the {fitted.rank} principal components of {len(centred)} "
                              f"item embeddings of {len(mean)} numbers; lower it, or use wider embeddings (--vectors)")
        return fitted

    @property
    def rank(self) -> int:
        """Number of components whose variance is more than a rounding error."""
        n_items, width = self.centred.shape
        known = self.variances > self.variances[0] * max(n_items, width) * np.finfo(np.float32).eps ** 2
        return int(min(known.sum(), n_items - 1))

    def half_whitening(self, count: int) -> np.ndarray:
        """Return the first directions, at most `count`, each divided by the root of its deviation, float64 [D, k]."""
        count = max(min(count, self.rank), 1)
        directions: np.ndarray = self.directions[:, :count] / np.maximum(self.variances[:count], 1e-30) ** 0.25
        return directions

    def whitened(self, centred: np.ndarray) -> np.ndarray:
        """Return the components of rows less the mean, float64 [n, D], scaled to variance 1: float64 [n, rank]."""
        scaled: np.ndarray = centred @ self.directions[:, :self.rank] / np.sqrt(self.variances[:self.rank])
        return scaled


class Features(nn.Module):
    """Frozen features of items: their embeddings, centred, projected on some directions and scaled; float32 buffers."""

    items: torch.Tensor
    """float [I, k], features of the catalogue."""
    mean: torch.Tensor
    """float [D]."""
    scale: torch.Tensor
    """float [k], or [1]: the same for all."""
    directions: torch.Tensor | None
    """float [D, k]; None: not projected."""

    def __init__(self, items: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, directions: torch.Tensor | None
                 ) -> None:
        super().__init__()
        for name, values in (("items", items), ("mean", mean), ("scale", scale), ("directions", directions)):
            self.register_buffer(name, values)

    @classmethod
    def centred(cls, embeddings: np.ndarray, components: int) -> Features:
        """Centre float [I+1, D] and divide it by one number, so that a row's mean squared norm is 1.

        Args:
            embeddings: row 0 is padding.
            components: number of principal components to project on; 0: no projection.

        Raises:
            TslrecError: there are fewer components.
        """
        if components:
            fitted = PrincipalComponents.fit(embeddings, components, "--pca-width")
            directions = fitted.directions[:, :components]
            return cls._made(fitted.mean, fitted.centred @ directions, directions)
        items = embeddings[1:].astype(np.float64)
        mean = items.mean(axis=0)
        return cls._made(mean, items - mean, None)

    @classmethod
    def whitened(cls, embeddings: np.ndarray, components: int, flag: str) -> Features:
        """Give each of the first principal components of float [I+1, D] the variance 1.

        Args:
            embeddings: row 0 is padding.
            components: number of components; 0: all whose variance is not zero.
            flag: the option that asked for them, for the message.

        Raises:
            TslrecError: there are fewer, or all embeddings are the same.
        """
        fitted = PrincipalComponents.fit(embeddings, max(components, 1), flag)
        count = components or fitted.rank
        directions = fitted.directions[:, :count]
        return cls._made(fitted.mean, fitted.centred @ directions, directions, 1 / np.sqrt(fitted.variances[:count]))

    @classmethod
    def _made(cls, mean: np.ndarray, items: np.ndarray, directions: np.ndarray | None, scale: np.ndarray | None = None
              ) -> Features:
        if scale is None:
            scale = 1 / np.maximum(np.sqrt(np.square(items).sum(axis=1).mean(keepdims=True)), 1e-12)
        axes = None if directions is None else torch.from_numpy(directions.astype(np.float32))
        return cls(torch.from_numpy((items * scale).astype(np.float32)), torch.from_numpy(mean.astype(np.float32)),
                   torch.from_numpy(scale.astype(np.float32)), axes)

    @property
    def width(self) -> int:
        """Number of features k."""
        return self.items.shape[1]

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the features of items, float [n, k], from their embeddings, float [n, D]."""
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise TslrecError(f"the item embeddings have the shape {tuple(embeddings.shape)}; the adapter was trained "
                              f"on vectors of {len(self.mean)} numbers; embed with the same model")
        centred = embeddings.to(self.mean) - self.mean
        return (centred if self.directions is None else centred @ self.directions) * self.scale
