"""What adapters fit on the catalogue: principal components, and features of items that stay frozen.

Everything is fitted in float64 without the padding row. A component's sign makes its largest entry positive, so that
the same embeddings give the same features on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...errors import TslrecError


def oriented(directions: np.ndarray) -> np.ndarray:
    """Return the columns of float [D, k], each with the sign that makes its largest entry positive."""
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
    def fit(cls, embeddings: np.ndarray) -> PrincipalComponents:
        """Fit float [I+1, D]; row 0 is padding and takes no part."""
        items = embeddings[1:].astype(np.float64)
        mean = items.mean(axis=0)
        centred = items - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
        return cls(mean, centred, oriented(directions[:, ::-1]), np.maximum(variances[::-1], 0.0))

    @property
    def rank(self) -> int:
        """Number of components whose variance is more than rounding."""
        n_items, width = self.centred.shape
        known = self.variances > self.variances[0] * max(n_items, width) * np.finfo(np.float32).eps ** 2
        return int(min(known.sum(), n_items - 1))

    def check(self, count: int, flag: str) -> None:
        """Raise TslrecError if there are fewer than `count` components; `flag` asked for them."""
        if count > self.rank:
            raise TslrecError(f"{flag} {count} is more than the {self.rank} principal components of "
                              f"{len(self.centred)} item embeddings of {len(self.mean)} numbers; lower it, or take "
                              "vectors that have more (--vectors)")


class Features(nn.Module):
    """Features of items: their embeddings, centred, on some directions, scaled; frozen.

    Kept as float32 buffers: the features of the catalogue, and what gives those of other items.
    """

    items: torch.Tensor
    """float [I, k], of the catalogue."""
    mean: torch.Tensor
    """float [D]."""
    scale: torch.Tensor
    """float [k], or [1] for all."""
    directions: torch.Tensor | None
    """float [D, k]; None: the embeddings' own axes."""

    def __init__(self, items: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, directions: torch.Tensor | None
                 ) -> None:
        super().__init__()
        for name, values in (("items", items), ("mean", mean), ("scale", scale), ("directions", directions)):
            self.register_buffer(name, values)

    @classmethod
    def centred(cls, embeddings: np.ndarray, components: int) -> Features:
        """Centre float [I+1, D] and divide it by one number, so that a row's mean squared norm is 1.

        Args:
            embeddings: row 0 is padding and takes no part.
            components: keep so many principal components; 0: the embeddings as they are.

        Raises:
            TslrecError: there are fewer components.
        """
        if components:
            fitted = PrincipalComponents.fit(embeddings)
            fitted.check(components, "--pca-width")
            directions = fitted.directions[:, :components]
            return cls._made(fitted.mean, fitted.centred @ directions, directions)
        items = embeddings[1:].astype(np.float64)
        mean = items.mean(axis=0)
        return cls._made(mean, items - mean, None)

    @classmethod
    def whitened(cls, embeddings: np.ndarray, components: int, flag: str) -> Features:
        """Give each of the first principal components of float [I+1, D] the variance 1.

        Args:
            embeddings: row 0 is padding and takes no part.
            components: how many; 0: all of which the variance is not zero.
            flag: what asked for them, for the message.

        Raises:
            TslrecError: there are fewer, or all embeddings are the same.
        """
        fitted = PrincipalComponents.fit(embeddings)
        fitted.check(max(components, 1), flag)
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

    @classmethod
    def restore(cls, state: dict[str, torch.Tensor]) -> Features:
        """Rebuild from a state dict."""
        return cls(state["items"], state["mean"], state["scale"], state.get("directions"))

    @property
    def width(self) -> int:
        """Number of features k."""
        return self.items.shape[1]

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the features of any items, float [n, k], from their embeddings, float [n, D]."""
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise TslrecError(f"the item embeddings are of shape {tuple(embeddings.shape)}; this adapter was fitted on "
                              f"vectors of {len(self.mean)} numbers; embed with the model that it was trained with")
        centred = embeddings.to(self.mean) - self.mean
        return (centred if self.directions is None else centred @ self.directions) * self.scale
