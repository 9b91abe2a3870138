"""The configuration of every stage, as flat frozen dataclasses.

A field is a command-line flag (``max_len`` is ``--max-len``), a key of a ``tslrec run`` file and a keyword of the API;
its help is written once, here. Importing this folder is cheap: it loads none of the heavy libraries.
"""

from __future__ import annotations

from ..config_fields import MAX_SEED
from .evaluate import EvaluateConfig, ProbeConfig
from .language_model import LOSSES, QUANTS, TEXTS, EmbedConfig, FinetuneConfig
from .prepare import FORMATS, PREPARED_SPLITS, PrepareConfig
from .train import (
    ADAPTERS,
    BLOCKS,
    CONTENT_MODELS,
    CONTROLS,
    COUNTING_MODELS,
    MODELS,
    RECOMMENDER_LOSSES,
    REFITS,
    SAMPLINGS,
    VECTORS,
    AdapterConfig,
    PretrainConfig,
    RecommenderConfig,
    TrainConfig,
    TuneConfig,
)

RECOMMENDATION_FORMATS = ("jsonl", "csv", "parquet")
VECTOR_FORMATS = ("npy", "parquet", "word2vec", "recbole")

__all__ = [
    "ADAPTERS", "AdapterConfig", "BLOCKS", "CONTENT_MODELS", "CONTROLS", "COUNTING_MODELS", "EmbedConfig",
    "EvaluateConfig", "FORMATS", "FinetuneConfig", "LOSSES", "MAX_SEED", "MODELS", "PREPARED_SPLITS",
    "PrepareConfig", "PretrainConfig", "ProbeConfig", "QUANTS", "RECOMMENDATION_FORMATS", "RECOMMENDER_LOSSES",
    "REFITS", "RecommenderConfig", "SAMPLINGS", "TEXTS", "TrainConfig", "TuneConfig", "VECTORS", "VECTOR_FORMATS",
]
