"""Llama 3's scaling of the rotary embedding, in its two forms.

transformers stores four numbers (``rope_type = "llama3"``). GGUF stores the factors that follow from them: the tensor
``rope_freqs.weight`` holds the divisor of the frequency for every pair of a head. Long waves are slowed down by
``factor``, short ones not at all, and those between by a mean of both (Llama 3.1's published model code).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LLAMA3_KEYS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
"""transformers' names of the four numbers."""


def frequency_factors(scaling: Mapping[str, float], base: float, head_dim: int) -> np.ndarray:
    """Return the divisor of each frequency, float32 [head_dim / 2].

    Args:
        scaling: the numbers of `LLAMA3_KEYS`.
        base: ``rope_theta``.
        head_dim: values of a head.
    """
    factor, low, high, context = (float(scaling[key]) for key in LLAMA3_KEYS)
    turns = context / _wavelengths(base, head_dim)  # within the context of the original training
    share = np.clip((turns - low) / (high - low), 0, 1)  # of the unscaled frequency
    return (1 / ((1 - share) / factor + share)).astype(np.float32)


def scaling_of_factors(factors: np.ndarray, base: float, head_dim: int) -> dict[str, float] | None:
    """Return the numbers of `LLAMA3_KEYS` that give these factors, float32 [head_dim / 2]; see `frequency_factors`.

    The factors determine only ratios of the last three numbers, so ``low_freq_factor`` is taken to be 1, as in all
    published models.

    Returns:
        None if the factors don't follow Llama 3's rule, or too few of them lie between the extremes.
    """
    scaling: dict[str, float] = {}
    if factors.shape == (head_dim // 2,) and factors.max() > 1:
        factor, inverse = float(factors.max()), 1 / factors.astype(np.float64)
        share = (inverse - 1 / factor) / (1 - 1 / factor)
        between = (factors > 1) & (factors < factor)
        if between.sum() >= 2:
            slope, offset = np.polyfit(1 / _wavelengths(base, head_dim)[between], share[between], 1)
            scaling = dict(zip(LLAMA3_KEYS, (factor, 1.0, round(1 - 1 / offset, 3), round(-slope / offset)),
                               strict=True))
    if scaling and np.allclose(frequency_factors(scaling, base, head_dim), factors, rtol=1e-5, atol=0):
        return scaling
    return None


def _wavelengths(base: float, head_dim: int) -> np.ndarray:
    """Return the tokens per turn of each frequency, float64 [head_dim / 2]."""
    return 2 * np.pi * float(base) ** (np.arange(0, head_dim, 2) / head_dim)
