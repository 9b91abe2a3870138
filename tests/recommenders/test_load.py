from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tslrec_min.configs import COUNTING_MODELS, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.counting.artifact import CLASSES
from tslrec_min.recommenders.fusion.scorer import FusedScorer
from tslrec_min.recommenders.inference import TrainedScorer
from tslrec_min.recommenders.load import load_scorer
from tslrec_min.recommenders.train import train

CPU = torch.device("cpu")


def test_every_run_is_what_it_was_made_as(cold: Path, trained: Path, summed: Path, tmp_path: Path) -> None:
    dataset_hash = load_dataset(cold)[1]
    for name, can in (("linear", True), ("none", False)):
        scorer = load_scorer(trained / name, dataset_hash, CPU, 5)
        assert isinstance(scorer, TrainedScorer) and (scorer.cold is not None) == can
        assert load_scorer(trained / name, dataset_hash, CPU).cold is None
    for model in COUNTING_MODELS:
        train(cold, tmp_path / model, TrainConfig(model=model), device=CPU, threads=1,
              embeddings_path=trained / "embed" if model.startswith("content") else None)
        scorer = load_scorer(tmp_path / model, dataset_hash, CPU, 5)
        assert type(scorer) is CLASSES[model] and scorer.cold is not None and len(scorer.cold.rows) == 5
    scorer = load_scorer(summed, dataset_hash, CPU, 5)
    assert isinstance(scorer, FusedScorer) and scorer.cold is not None and len(scorer.cold.rows) == 5
    for run, what in ((tmp_path / "popularity", "is popularity"), (summed, "is the sum of several recommenders")):
        with pytest.raises(TslrecError, match=f"{what}, which has no item table; give the run of a trained model"):
            load_recommender(run, dataset_hash, CPU)


def test_another_data_set_and_damaged_files_are_refused(cold: Path, trained: Path, summed: Path, tmp_path: Path
                                                        ) -> None:
    dataset_hash = load_dataset(cold)[1]
    for run in (trained / "linear", summed):
        with pytest.raises(TslrecError, match="was trained on another data set"):
            load_scorer(run, "0" * 64, CPU)
    for name in ("weights.json", "occurrences.npy", "parts/0/model.safetensors", "parts/2/counts.npz",
                 "parts/1/part.json"):
        shutil.rmtree(tmp_path / "sum", ignore_errors=True)
        shutil.copytree(summed, tmp_path / "sum")
        contents = (tmp_path / "sum" / name).read_bytes()
        (tmp_path / "sum" / name).write_bytes(contents[:-9] + b"x" + contents[-8:])
        with pytest.raises(TslrecError, match=f"{name} was changed or damaged after it was written"):
            load_scorer(tmp_path / "sum", dataset_hash, CPU)
        (tmp_path / "sum" / name).unlink()
        with pytest.raises(TslrecError, match=f"lacks {name}; make the train artifact again"):
            load_scorer(tmp_path / "sum", dataset_hash, CPU)
