"""Loading what `tslrec train` and `tslrec fuse` wrote as something that scores."""

from __future__ import annotations

from pathlib import Path

import torch

from ..configs import COUNTING_MODELS
from ..storage.artifacts import Artifact, open_artifact, refuse_other_dataset
from .artifact import load_cold_rows, load_recommender
from .counting.artifact import load_counting
from .fusion.artifact import FUSED, load_fusion
from .fusion.scorer import FusedScorer
from .inference import TrainedScorer
from .scorer import Scorer


def load_scorer(path: Path | Artifact, dataset_hash: str, device: torch.device, n_cold: int = 0) -> Scorer:
    """Read a recommender: trained, without training, or the sum of several.

    Args:
        path: folder of a train artifact, or the artifact.
        dataset_hash: of the data set to score, which must be the one it was made for.
        device: where networks are to run.
        n_cold: C, the data set's cold items, which get scores if the recommender can make any.

    Raises:
        TslrecError: it is missing, damaged, or was trained on another data set.
    """
    artifact = open_artifact(path, "train")
    refuse_other_dataset(artifact, dataset_hash)
    model = artifact.config.get("model")
    if model == FUSED:
        fusion = load_fusion(artifact)
        parts = [load_scorer(part, dataset_hash, device, n_cold) for part in fusion.parts]
        return FusedScorer(parts, fusion.weights, fusion.occurrences, n_cold)
    if model in COUNTING_MODELS:
        return load_counting(artifact.path, model)
    recommender = load_recommender(artifact, dataset_hash, device)
    return TrainedScorer(recommender, device, load_cold_rows(artifact, n_cold) if n_cold else None)
