"""Item embeddings as the head sees them: the preference distribution of the virtual user whose history is the item.

Stage 1 (TSLRec, arXiv 2406.00333) writes what it learns about users into the directions of the hidden state that the
head reads; in a plain state the many other directions, which describe how a title is written, outweigh them. The head
recovers them: p = softmax(W e + b), or the outputs themselves if the loss was ``mse``. The paper uses only the state
before the head; this is ours, and so is `item_vectors.load.combined`, which puts the two side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """The loss it was trained with: kl, ce or mse."""

    @classmethod
    def load(cls, tuned: TunedModel) -> PreferenceHead:
        """Read head.safetensors of a finetune artifact, which was compared with its SHA-256 when opened.

        Raises:
            TslrecError: it can't be read.
        """
        path = tuned.artifact.path / "head.safetensors"
        try:
            tensors = load_file(path)
            return cls(tensors["weight"].astype(np.float64), tensors["bias"].astype(np.float64), tuned.config.loss)
        except (OSError, SafetensorError, KeyError) as error:
            raise TslrecError(f"{path} can't be read as the head of a fine-tuned model: {error}; run tslrec finetune "
                              "again") from None

    def vectors(self, states: np.ndarray) -> np.ndarray:
        """Return the square roots of the preference distributions of pooled states, float [n, D], float32 [n, K].

        They have the norm 1 and the Hellinger distance: rare categories count as much as frequent ones, yet values
        near 0 count as 0, unlike in the distances of logits.
        """
        outputs = states.astype(np.float64) @ self.weight.T + self.bias
        if self.loss == "mse":
            outputs = np.maximum(outputs, 1e-12)
        else:
            outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.sqrt(outputs / outputs.sum(axis=1, keepdims=True)).astype(np.float32)
