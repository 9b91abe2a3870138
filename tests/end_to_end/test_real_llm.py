"""The real 135M language model on real titles: fine-tuning beats the constant predictor, and conversion keeps the
states. Small enough for a test; the quickstart does the same at full size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.categories.pretrain import pretrain
from tslrec_min.configs import EmbedConfig, FinetuneConfig, PrepareConfig, PretrainConfig
from tslrec_min.data.builtin import resolve_dataset
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.embedding.embed import embed_tuned
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.storage.artifacts import read_json

CPU = torch.device("cpu")


@pytest.mark.llm
def test_real_model_learns_and_keeps_its_states_through_gguf(tmp_path: Path) -> None:
    interactions, items = resolve_dataset("ml-100k")
    prepare(interactions, tmp_path / "dataset", PrepareConfig(), items=items)
    pretrain(tmp_path / "dataset", tmp_path / "pretrain", PretrainConfig(categories=16, epochs=2, blocks=1),
             device=CPU, threads=2)
    config = FinetuneConfig(users=64, max_history=8, holdout=0.02, checks=1, parity_prompts=60)
    finetune(tmp_path / "dataset", tmp_path / "pretrain", tmp_path / "finetune", config, device=CPU, threads=2)
    metrics = read_json(tmp_path / "finetune" / "metrics.json")
    assert metrics["best"] < metrics["baseline"]
    parity = read_json(tmp_path / "finetune" / "parity.json")
    assert parity["prompts"] == 60
    assert parity["comparisons"]["merged"]["mean_cosine"] > 0.9999
    assert parity["comparisons"]["F16"]["mean_cosine"] >= 0.998
    assert parity["comparisons"]["Q8_0"]["mean_cosine"] >= 0.995

    for name in ("a", "b"):
        embed_tuned(tmp_path / "dataset", tmp_path / "finetune", tmp_path / name, EmbedConfig(), device=CPU, threads=2)
    dataset, _ = load_dataset(tmp_path / "dataset")
    vectors = load_item_embeddings(tmp_path / "a", dataset).known
    assert np.array_equal(vectors, load_item_embeddings(tmp_path / "b", dataset).known)
    units = vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    titles = [str(title) for title in dataset.titles]
    first, second = (titles.index(name) for name in ("Godfather, The", "Godfather: Part II, The"))
    nearest = np.argsort(-(units @ units[first]))[:20]
    assert second in nearest  # the vectors know the titles
