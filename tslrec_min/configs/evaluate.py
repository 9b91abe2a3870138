"""The configuration of evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from ..config_fields import MAX_SEED, option

_RESAMPLED = ("permutation", "bootstrap")


@dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated and how arms are compared."""

    split: str = option("test", "Targets to rank.", choices=("validation", "test"))
    head_share: float = option(0.2, "Fraction of the items that are head items, the most popular in training; the rest "
                               "are tail items.", low=0, high=1)
    test: str = option("permutation", "Paired test over users of every arm against the first one.",
                       choices=("permutation", "bootstrap", "none"))
    resamples: int = option(10000, "Number of resamples of the paired test.", low=1, only_for={"test": _RESAMPLED})
    seed: int = option(0, "Random seed of the paired test.", low=0, high=MAX_SEED, only_for={"test": _RESAMPLED})
