"""The tokens of the items' texts, for vectors of tokens beside a projection of states (`projection`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..data.csr import offsets, owners
from ..llm.prompts import TokenPrompt

_LEAST_ITEMS = 3
"""Tokens of fewer items have no vector: it would stand for these items, not for what their texts say."""


@dataclass(frozen=True)
class ItemTokens:
    """Which tokens every item's text has; each counts once."""

    ids: np.ndarray
    """int64 [V], the tokens' ids in the model's vocabulary, rising."""
    weights: np.ndarray
    """float32 [V], log(I / items that have it) / log I, between 0 and 1."""
    indptr: np.ndarray
    """int64 [I+1]: item i, from 0, has ``places[indptr[i]:indptr[i+1]]``."""
    places: np.ndarray
    """int64 [N], indices of `ids`."""

    @classmethod
    def of(cls, prompts: Sequence[TokenPrompt]) -> Self:
        """Return the tokens in the spans of the prompts of I items; those of few items, and of all, are left out."""
        items, tokens = _pairs(prompts)
        ids, places, counts = np.unique(tokens, return_inverse=True, return_counts=True)
        kept = (counts >= _LEAST_ITEMS) & (counts < len(prompts))
        renamed = np.cumsum(kept) - 1
        chosen = kept[places.reshape(-1)]
        weights = np.log(len(prompts) / counts[kept]) / max(np.log(max(len(prompts), 2)), 1e-12)
        return cls(ids[kept], weights.astype(np.float32),
                   offsets(np.bincount(items[chosen], minlength=len(prompts))),
                   renamed[places.reshape(-1)[chosen]])

    @classmethod
    def known(cls, prompts: Sequence[TokenPrompt], ids: np.ndarray, weights: np.ndarray) -> Self:
        """Return which of some tokens the prompts of any items have.

        Args:
            prompts: of I items.
            ids: int64 [V], the tokens, rising.
            weights: float32 [V], their weights.
        """
        items, tokens = _pairs(prompts)
        places = np.minimum(np.searchsorted(ids, tokens), max(len(ids) - 1, 0))
        found = ids[places] == tokens if len(ids) else np.zeros(len(tokens), np.bool_)
        return cls(ids, weights, offsets(np.bincount(items[found], minlength=len(prompts))), places[found])

    def sums(self, vectors: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the vectors of every item's tokens; float [V, d] -> float64 [I, d]."""
        sums = np.zeros((len(self.indptr) - 1, vectors.shape[1]))
        np.add.at(sums, owners(np.diff(self.indptr)), vectors[self.places] * self.weights[self.places, None])
        return sums


def _pairs(prompts: Sequence[TokenPrompt]) -> tuple[np.ndarray, np.ndarray]:
    """Return the items, from 0, and the tokens of their spans, int64 [N] each; every pair once, in rising order."""
    spans = [sorted(set(prompt.token_ids[prompt.pool_start:prompt.pool_stop])) for prompt in prompts]
    return owners([len(span) for span in spans]), np.array([token for span in spans for token in span], np.int64)
