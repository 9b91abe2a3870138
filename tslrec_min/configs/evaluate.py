"""The configurations of evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from ..config_fields import MAX_SEED, option
from .train import VECTORS

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


@dataclass(frozen=True)
class ProbeConfig:
    """What of item embeddings is scored without training, and by which targets."""

    split: str = option("validation", "Targets to rank. Read the figures of test once, when all choices are made.",
                        choices=("validation", "test"))
    vectors: str = option("each", "Which embeddings of a fine-tuned model to score: hidden states, preferences "
                          "predicted by its head, both concatenated, projected vectors, or each that there is. All "
                          "other embeddings are states.", choices=("each", *VECTORS[1:]))
    cca: bool = option(False, "Also score the model content-cca: a linear map of the same vectors, learned from the "
                       "items of training histories. What fine-tuning brings has to be compared with it.")
    control: str = option("none", "Also score the same vectors shuffled among the items: what these reach is no "
                          "knowledge of the items.", choices=("none", "shuffled"))
    head_share: float = option(0.2, "Fraction of the items that are head items, the most popular in training; the rest "
                               "are tail items.", low=0, high=1)
    resamples: int = option(10000, "Number of resamples of the paired permutation test.", low=1)
    seed: int = option(0, "Random seed of the shuffling and of the test.", low=0, high=MAX_SEED)
