from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.recommenders.adapters.components import Features
from tslrec_min.recommenders.adapters.controls import controlled
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, read_json, write_artifact

from .factories import make_embeddings

CPU = torch.device("cpu")


def test_controls() -> None:
    embeddings = make_embeddings()
    assert controlled(embeddings, "none", 0) is embeddings
    shuffled, random = (controlled(embeddings, name, 3) for name in ("shuffled", "random"))
    for replaced in (shuffled, random):
        assert replaced.shape == embeddings.shape and replaced.dtype == np.float32 and not replaced[0].any()
        assert not np.array_equal(replaced, embeddings)
    np.testing.assert_array_equal(np.sort(shuffled[1:], axis=0), np.sort(embeddings[1:], axis=0))
    assert sorted(map(tuple, shuffled[1:])) == sorted(map(tuple, embeddings[1:]))
    norms = [np.sqrt(np.square(rows[1:]).sum(axis=1).mean()) for rows in (random, embeddings)]
    assert norms[0] == pytest.approx(norms[1], rel=0.1)
    assert abs(random[1:].mean()) < 0.1 * norms[1]
    np.testing.assert_array_equal(controlled(embeddings, "random", 3), random)
    assert not np.array_equal(controlled(embeddings, "random", 4), random)


def test_a_control_takes_the_place_of_the_embeddings_in_training(cycle: Path, tmp_path: Path) -> None:
    dataset, dataset_hash = load_dataset(cycle)
    embeddings = make_embeddings(dataset.n_items)
    with write_artifact(tmp_path / "embed", Recipe("embed", {}, {})) as folder:
        write_embeddings(folder, [(np.arange(dataset.n_items), embeddings[1:])], dataset)
    config = TrainConfig(adapter="alphafuse", width=8, blocks=1, max_len=8, epochs=1, seed=5, control="shuffled")
    train(cycle, tmp_path / "run", config, embeddings_path=tmp_path / "embed", device=CPU, threads=1)
    assert read_json(tmp_path / "run" / "config.json")["config"]["control"] == "shuffled"
    adapter = load_recommender(tmp_path / "run", dataset_hash, CPU).adapter
    expected = Features.whitened(controlled(embeddings, "shuffled", 5), 8, "--width").items
    torch.testing.assert_close(adapter.features.items, expected)
