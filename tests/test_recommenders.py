"""SASRec, adapters, the trainer and the stages pretrain and train."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.adapters import build_adapter, restore_adapter
from tslrec_min.adapters.init import principal_components
from tslrec_min.artifacts import Recipe, open_artifact, read_json, write_artifact
from tslrec_min.configs import PretrainConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.embedding.artifact import load_embeddings, save_embeddings
from tslrec_min.errors import TslrecError
from tslrec_min.metrics import metric_values
from tslrec_min.models.sasrec import SASRec
from tslrec_min.recommenders import load_categories, load_recommender, pretrain, train
from tslrec_min.training import rank

CPU = torch.device("cpu")
SMALL = {"width": 16, "blocks": 1, "max_len": 8, "batch_size": 32, "learning_rate": 5e-3, "epochs": 12, "dropout": 0.1}


@pytest.fixture(scope="module")
def embeddings(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embed artifact of random vectors for the cycle data."""
    dataset, _ = load_dataset(cycle)
    out = tmp_path_factory.mktemp("embed") / "embed"
    vectors = np.random.default_rng(0).normal(size=(dataset.n_items, 40)).astype(np.float32)
    with write_artifact(out, Recipe("embed", {}, {})) as folder:
        save_embeddings(folder, vectors, dataset)
    return out


def literal_sasrec(model: SASRec, inputs: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """The pre-norm blocks written out, one user, one head and one position at a time."""
    width, found = table.shape[1], []
    for row in inputs:
        real = [place for place, item in enumerate(row.tolist()) if item]
        x = {p: table[row[p]] + model.positions[p - len(row)] for p in real}
        for block in model.blocks:
            y = {p: block.query_key_value(block.attention_norm(x[p])) for p in real}
            size, after = width // block.heads, {}
            for p in real:
                heads = []
                for h in range(block.heads):
                    q, ks, vs = ([y[j][part * width + h * size:part * width + (h + 1) * size] for j in span]
                                 for part, span in ((0, [p]), (1, [j for j in real if j <= p]),
                                                    (2, [j for j in real if j <= p])))
                    weights = torch.softmax(torch.stack([q[0] @ k / math.sqrt(size) for k in ks]), dim=0)
                    heads.append(sum(w * v for w, v in zip(weights, vs, strict=True)))
                after[p] = x[p] + block.attention_output(torch.cat(heads))
            x = {p: after[p] + block.feed_forward(block.feed_forward_norm(after[p])) for p in real}
        found.append(model.final_norm(x[real[-1]]))
    return torch.stack(found)


def test_sasrec_is_its_literal_restatement() -> None:
    torch.manual_seed(0)
    model, table = SASRec(16, 2, 2, 0.5, 6).eval(), torch.randn(10, 16)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    inputs = torch.tensor([[0, 0, 3, 5, 1], [1, 2, 3, 4, 5], [0, 0, 0, 0, 9]])
    torch.testing.assert_close(model(inputs, table)[:, -1], literal_sasrec(model, inputs, table), atol=1e-5, rtol=1e-4)


def test_states_are_causal_finite_and_blind_to_padding() -> None:
    torch.manual_seed(0)
    model, table = SASRec(16, 2, 2, 0.0, 6).eval(), torch.randn(10, 16)
    whole = model(torch.tensor([[1, 2, 3, 4]]), table)
    torch.testing.assert_close(model(torch.tensor([[1, 2, 3, 9]]), table)[:, :3], whole[:, :3])
    torch.testing.assert_close(model(torch.tensor([[0, 0, 1, 2, 3, 4]]), table)[:, 2:], whole)
    assert torch.isfinite(model(torch.zeros(1, 4, dtype=torch.int64), table)).all()


@pytest.mark.parametrize("name", ["none", "linear", "init"])
def test_adapter_contract(name: str) -> None:
    embeddings = np.random.default_rng(0).normal(size=(31, 40)).astype(np.float32)
    embeddings[0] = 0
    adapter = build_adapter(name, 30, 16, None if name == "none" else embeddings)
    table = adapter()
    assert table.shape == (31, 16) and not table[0].any() and torch.isfinite(table).all()
    table.square().sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    restored = restore_adapter(name, adapter.state_dict())
    torch.testing.assert_close(restored(), table)


def test_every_item_keeps_its_own_vector_the_last_one_too() -> None:
    embeddings = np.random.default_rng(0).normal(size=(31, 40)).astype(np.float32)
    for name in ("linear", "init"):
        torch.manual_seed(0)
        before = build_adapter(name, 30, 8, embeddings)()
        shuffled = embeddings.copy()
        shuffled[[29, 30]] = shuffled[[30, 29]]
        torch.manual_seed(0)
        after = build_adapter(name, 30, 8, shuffled)()
        torch.testing.assert_close(after[[30, 29]], before[[29, 30]], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(after[:29], before[:29], atol=1e-5, rtol=1e-4)


def test_principal_components_keep_distances_and_ignore_padding() -> None:
    embeddings = np.random.default_rng(0).normal(size=(21, 12))
    embeddings[0] = 1e6
    components = principal_components(embeddings, 12)  # all of them: a rotation
    items = embeddings[1:]
    np.testing.assert_allclose(np.linalg.norm(components[3] - components[7]), np.linalg.norm(items[3] - items[7]))
    spread = components.var(axis=0)
    assert (np.diff(spread) <= 1e-9).all()
    np.testing.assert_allclose(principal_components(embeddings, 5), components[:, :5])
    with pytest.raises(TslrecError, match="--width 13"):
        principal_components(embeddings, 13)


def test_adapters_refuse_what_does_not_fit() -> None:
    with pytest.raises(TslrecError, match="needs item embeddings"):
        build_adapter("linear", 5, 4, None)
    with pytest.raises(TslrecError, match="takes no item embeddings"):
        build_adapter("none", 5, 4, np.zeros((6, 4)))
    with pytest.raises(TslrecError, match="5 rows; expected 6"):
        build_adapter("init", 5, 4, np.zeros((5, 4)))


@pytest.mark.parametrize("adapter", ["none", "linear", "init"])
def test_learns_a_known_answer(cycle: Path, embeddings: Path, tmp_path: Path, adapter: str) -> None:
    train(cycle, tmp_path / "run", TrainConfig(adapter=adapter, **SMALL), device=CPU, threads=1,
          embeddings_path=None if adapter == "none" else embeddings)
    dataset, dataset_hash = load_dataset(cycle)
    ranks = rank(load_recommender(tmp_path / "run", dataset_hash, CPU), dataset.evaluation("test"), device=CPU)
    assert metric_values(ranks, "hr@5").mean() == 1.0 and metric_values(ranks, "ndcg@5").mean() > 0.95
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["validation_ndcg@10"] == max(epoch["validation_ndcg@10"] for epoch in metrics["epochs"])


def test_same_seed_same_weights_for_any_kernel_threads(cycle: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    states = []
    for name, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        train(cycle, tmp_path / name, TrainConfig(seed=seed, **SMALL | {"epochs": 2}), device=CPU, threads=threads)
        states.append(load_file(tmp_path / name / "model.safetensors"))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["adapter.weight"], states[2]["adapter.weight"])
    assert open_artifact(tmp_path / "a", "train").hash == open_artifact(tmp_path / "b", "train").hash


def test_pretrain_writes_categories(cycle: Path, tmp_path: Path) -> None:
    pretrain(cycle, tmp_path / "pre", PretrainConfig(categories=4, **SMALL | {"epochs": 2}), device=CPU, threads=1)
    dataset, dataset_hash = load_dataset(cycle)
    categories, _ = load_categories(tmp_path / "pre", dataset, dataset_hash)
    assert categories.n_categories == 4 and set(categories.labels[1:]) == set(range(4)) and categories.labels[0] == -1
    assert sum(read_json(tmp_path / "pre" / "metrics.json")["categories"]["sizes"]) == dataset.n_items
    with pytest.raises(TslrecError, match="another data set"):
        load_categories(tmp_path / "pre", dataset, "0" * 64)


def test_embeddings_of_another_catalogue_are_refused_by_name(cycle: Path, embeddings: Path) -> None:
    dataset, _ = load_dataset(cycle)
    vectors, _ = load_embeddings(embeddings, dataset)
    assert vectors.shape == (25, 40) and not vectors[0].any()
    other = replace(dataset, item_ids=[*dataset.item_ids[:-1], "newcomer"])
    with pytest.raises(TslrecError, match=r"without newcomer, with unknown i9.*tslrec embed"):
        load_embeddings(embeddings, other)
    with pytest.raises(TslrecError, match="another order"):
        load_embeddings(embeddings, replace(dataset, item_ids=[*reversed(dataset.item_ids)]))


def test_impossible_training_is_refused(cycle: Path, tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="not a multiple of --heads"):
        train(cycle, tmp_path / "x", TrainConfig(width=10, heads=3), device=CPU, threads=1)
    with pytest.raises(TslrecError, match="lower --learning-rate"):
        train(cycle, tmp_path / "x", TrainConfig(learning_rate=1e30, epochs=20), device=CPU, threads=1)
    assert not (tmp_path / "x").exists()
