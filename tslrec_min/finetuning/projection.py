"""Item embeddings as a map of the tuned model's states and the tokens of the text: the vectors whose cosines foretell
next items.

    e = f / |f|,   f = B (h - m) + sum_t g_t u_t

h is the item's state, t the different tokens of its text, g_t their inverse document frequency. B [d, D] and the
tokens' vectors u_t are trained with the language model. B starts as the half-whitened principal components of the
states before fine-tuning, the vectors of ``content`` (`recommenders.counting.content`), and u_t at 0, so that training
starts from what needs none. A state says what a text means, and blurs its words; what a brand or a rare word tells of
the next item is learned directly (a wide and a deep part; Cheng et al., arXiv 1606.07792).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import TslrecError
from ..llm.prompts import TokenPrompt
from .item_tokens import ItemTokens

if TYPE_CHECKING:
    from .artifact import TunedModel

FILE = "projection.safetensors"


@dataclass(frozen=True)
class Projection:
    """The map of a fine-tuned model's states and of the tokens of texts."""

    weight: np.ndarray
    """float64 [d, D]."""
    bias: np.ndarray
    """float64 [d], -B m."""
    token_ids: np.ndarray
    """int64 [V], tokens that have a vector, rising."""
    token_weights: np.ndarray
    """float32 [V], g."""
    tokens: np.ndarray
    """float64 [V, d], u."""

    @classmethod
    def start(cls, states: np.ndarray, width: int, tokens: ItemTokens) -> Projection:
        """Return half-whitened principal components of states, float32 [n, D], at most `width` of them; tokens at 0.

        Projected vectors have a mean squared length of 1 before they are scaled.
        """
        from ..recommenders.adapters.components import PrincipalComponents  # torch

        fitted = PrincipalComponents.fit(np.concatenate([np.zeros_like(states[:1]), states]))
        weight = fitted.half_whitening(width).T
        projected = fitted.centred @ weight.T
        weight /= max(np.sqrt((projected ** 2).sum(axis=1).mean()), 1e-12)
        return cls(weight, -weight @ fitted.mean, tokens.ids, tokens.weights, np.zeros((len(tokens.ids), len(weight))))

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
            return cls(tensors["weight"].astype(np.float64), tensors["bias"].astype(np.float64),
                       tensors["token_ids"], tensors["token_weights"], tensors["tokens"].astype(np.float64))
        except (OSError, SafetensorError, KeyError) as error:
            raise TslrecError(f"{path} can't be read as the projection of a fine-tuned model: {error}; run tslrec "
                              "finetune again") from None

    def vectors(self, states: np.ndarray, prompts: Sequence[TokenPrompt]) -> np.ndarray:
        """Return the projected vectors of items, float32 [n, d], of length 1.

        Args:
            states: pooled states, float [n, D].
            prompts: n prompts.
        """
        projected = states.astype(np.float64) @ self.weight.T + self.bias
        projected += ItemTokens.known(prompts, self.token_ids, self.token_weights).sums(self.tokens)
        return (projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)).astype(np.float32)
