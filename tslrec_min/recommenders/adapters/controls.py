"""Controls: stand-ins for the item embeddings; a gain that they keep does not come from the embeddings' content."""

from __future__ import annotations

import numpy as np


def controlled(embeddings: np.ndarray, control: str, seed: int) -> np.ndarray:
    """Return the embeddings, or a control in their place.

    Args:
        embeddings: float32 [I+1, D], row 0 zeros.
        control: ``none``; ``random``: vectors from N(0, 1), scaled to the root mean square of the embeddings;
            ``shuffled``: the same rows, assigned to other items.
        seed: of the draws.

    Returns:
        float32 [I+1, D], row 0 zeros; the embeddings themselves for ``none``.
    """
    if control == "none":
        return embeddings
    random = np.random.default_rng((seed, len(embeddings)))
    replaced = np.zeros_like(embeddings)
    if control == "shuffled":
        replaced[1:] = embeddings[1 + random.permutation(len(embeddings) - 1)]
    else:
        spread = np.sqrt(np.square(embeddings[1:], dtype=np.float64).mean())
        replaced[1:] = random.standard_normal(replaced[1:].shape, dtype=np.float32) * spread
    return replaced
