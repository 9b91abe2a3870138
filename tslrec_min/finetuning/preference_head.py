"""Item embeddings as the head sees them: the preference distribution of the virtual user whose history is the item.

Stage 1 (TSLRec, arXiv 2406.00333) writes what it learns of users into those directions of the hidden state that the
head reads, and in a plain state they are drowned by the many others, which say how a title is written. The head gives
them back: p = softmax(W e + b), or the outputs themselves where the loss was ``mse``. The paper takes the state
before the head alone; this is ours, and so is `artifact.combined`, which puts the two side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import TslrecError
from .artifact import TunedModel


@dataclass(frozen=True)
class PreferenceHead:
    """The linear head of a fine-tuned model."""

    weight: np.ndarray
    """float64 [K, D], on the pooled state."""
    bias: np.ndarray
    """float64 [K]."""
    loss: str
    """What it was trained with: kl, ce or mse."""

    @classmethod
    def load(cls, tuned: TunedModel) -> PreferenceHead:
        """Read head.safetensors of a finetune artifact.

        Raises:
            TslrecError: it is missing or damaged.
        """
        path: Path = tuned.artifact.path / "head.safetensors"
        try:
            tensors = load_file(path)
            weight, bias = tensors["weight"].astype(np.float64), tensors["bias"].astype(np.float64)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            raise TslrecError(f"{path} can't be read as the head of a fine-tuned model: {error}; run tslrec finetune "
                              "again") from None
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or not (np.isfinite(weight).all() and (
                np.isfinite(bias).all())):
            raise TslrecError(f"{path} has a weight of shape {weight.shape} and a bias of {bias.shape}; run tslrec "
                              "finetune again")
        return cls(weight, bias, tuned.config.loss)

    def distributions(self, states: np.ndarray) -> np.ndarray:
        """Return the preference distributions of prompts, float64 [n, K], from their pooled states, float [n, D]."""
        outputs = states.astype(np.float64) @ self.weight.T + self.bias
        if self.loss == "mse":
            outputs = np.maximum(outputs, 1e-12)
        else:
            outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return outputs / outputs.sum(axis=1, keepdims=True)

    def vectors(self, states: np.ndarray) -> np.ndarray:
        """Return the square roots of `distributions`, float32 [n, K].

        They have the norm 1, and their distance is that of Hellinger: rare categories count as well as frequent ones
        do, and yet what is nearly 0 counts as 0, which the distances of logits would not have.
        """
        return np.sqrt(self.distributions(states)).astype(np.float32)
