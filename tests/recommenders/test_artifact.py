from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.configs import ADAPTERS, EvaluateConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.recommenders.artifact import load_cold_rows, load_recommender
from tslrec_min.recommenders.train import projected_rows, train

from ..factories import SMALL

CPU = torch.device("cpu")


def test_cold_rows_come_from_the_projection_of_the_best_weights(cold: Path, trained: Path) -> None:
    dataset, dataset_hash = load_dataset(cold)
    rows = load_cold_rows(trained / "linear", 5)
    recommender = load_recommender(trained / "linear", dataset_hash, CPU)
    vectors = load_item_embeddings(trained / "embed", dataset).rows
    state = {name: value.numpy() for name, value in recommender.adapter.state_dict().items()}
    items = vectors[1:20].astype(np.float64)
    centred = items - items.mean(axis=0)
    scale = np.sqrt(np.square(centred).sum(axis=1).mean())
    expected = (vectors[20:] - items.mean(axis=0)) / scale @ state["projection.weight"].T + state["projection.bias"]
    assert rows is not None and rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert load_cold_rows(trained / "none", 5) is None
    with pytest.raises(TslrecError, match=r"\[5, 16\]; expected finite float32 with 6 rows"):
        load_cold_rows(trained / "linear", 6)


@pytest.mark.parametrize("adapter", sorted({*ADAPTERS} - {"none", "linear"}))
def test_every_adapter_projects_or_says_why_not(cold: Path, trained: Path, tmp_path: Path, adapter: str) -> None:
    dataset, dataset_hash = load_dataset(cold)
    config = TrainConfig(adapter=adapter, **SMALL | {"width": 8, "epochs": 1})
    train(cold, tmp_path / "run", config, embeddings_path=trained / "embed", device=CPU, threads=1)
    rows = load_cold_rows(tmp_path / "run", 5)
    found = evaluate(cold, {"a": [tmp_path / "run"]}, EvaluateConfig(test="none"), device=CPU, threads=1)["cold"][
        "arms"]["a"]
    if adapter in ("init", "recpca", "cca"):
        assert rows is None and f"the adapter {adapter} has vectors" in found["reason"]
        return
    assert rows is not None and rows.shape == (5, 8) and 0 <= found["cold"]["hr@10"]["mean"] <= 1
    table = load_recommender(tmp_path / "run", dataset_hash, CPU).item_table().detach().numpy()
    if adapter not in ("alphafuse", "gate"):  # those add what was learned of the item itself
        np.testing.assert_allclose(rows[1], table[7], rtol=1e-4, atol=1e-6)
    assert not np.allclose(rows[0], rows[1], atol=1e-3)


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_controls_replace_what_is_projected(cold: Path, trained: Path, tmp_path: Path, control: str) -> None:
    dataset, dataset_hash = load_dataset(cold)
    config = TrainConfig(adapter="linear", control=control, **SMALL)
    train(cold, tmp_path / "run", config, embeddings_path=trained / "embed", device=CPU, threads=1)
    rows, recommender = load_cold_rows(tmp_path / "run", 5), load_recommender(tmp_path / "run", dataset_hash, CPU)
    vectors = load_item_embeddings(trained / "embed", dataset).rows
    assert rows is not None
    plain = projected_rows(recommender, vectors[20:])
    assert not np.allclose(rows, plain, atol=1e-4)
    same_rows = np.allclose(np.sort(rows, axis=0), np.sort(plain, axis=0), atol=1e-5)
    assert same_rows == (control == "shuffled")
