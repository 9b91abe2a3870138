"""Adapters: what they are fitted to, what is trained, what is stored, and items that training didn't know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import ADAPTERS, TrainConfig
from tslrec_min.data.dataset import Dataset, Histories, load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.recommenders.adapters import ADAPTER_CLASSES, build_adapter
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, write_artifact

from .factories import N_ITEMS, WIDTH, make_adapter, make_embeddings, random_histories

CPU = torch.device("cpu")
TABLES, WITH_IDS = ("none", "init", "recpca", "cca"), ("alphafuse", "gate")
PROJECTIONS = [name for name in ADAPTERS if name not in TABLES]


def stored_embeddings(path: Path, dataset: Dataset) -> Path:
    """Write an embed artifact of `make_embeddings`."""
    with write_artifact(path, Recipe("embed", {}, {})) as folder:
        write_embeddings(folder, [(np.arange(dataset.n_items), make_embeddings(dataset.n_items)[1:])], dataset)
    return path


@pytest.mark.parametrize("table_std", [0.02, 0.3])
@pytest.mark.parametrize("name", ADAPTERS)
def test_contract(name: str, table_std: float) -> None:
    adapter = make_adapter(name, table_std=table_std)
    table = adapter()
    assert table.shape == (N_ITEMS + 1, WIDTH) and table.dtype == torch.float32 and torch.isfinite(table).all()
    assert not table[0].any()
    spread = table[1:].detach().square().mean().sqrt()
    assert 0.5 < spread / table_std < 2
    assert len(torch.unique(table[1:], dim=0)) == N_ITEMS
    projected = adapter.project(torch.from_numpy(make_embeddings(5)))
    assert (projected is not None) == (name not in TABLES)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_step_moves_what_is_trained_and_nothing_else(name: str) -> None:
    adapter = make_adapter(name)
    before = {key: values.clone() for key, values in adapter.state_dict().items()}
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.01, weight_decay=0.1)
    goal = torch.randn(N_ITEMS, WIDTH)
    for _ in range(2):  # spectral: MLP biases and others may have no gradient in the very first step
        optimiser.zero_grad()
        (adapter()[1:] - goal).square().sum().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in adapter.parameters())
        optimiser.step()
    after, trained = adapter.state_dict(), dict(adapter.named_parameters())
    assert {key for key in after if not torch.equal(after[key], before[key])} == set(trained)
    assert not adapter()[0].any()


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name != "none"])
def test_every_item_keeps_its_own_vector_the_last_one_too(name: str) -> None:
    swap = np.arange(N_ITEMS + 1)
    swap[[-2, -1]] = swap[[-1, -2]]
    config, histories = TrainConfig(adapter=name, width=WIDTH), random_histories()
    tables = []
    for order in (slice(None), swap):
        torch.manual_seed(0)
        # The graph of recpca and cca moves along with the items.
        renamed = np.arange(N_ITEMS + 1, dtype=np.int32)[order][histories.items]
        adapter = build_adapter(config, N_ITEMS, make_embeddings()[order], Histories(histories.indptr, renamed))
        if hasattr(adapter, "ids"):
            torch.nn.init.zeros_(adapter.ids)  # drawn for rows, not for items
        tables.append(adapter())
    torch.testing.assert_close(tables[1], tables[0][swap], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("pca_width", [0, 12])
def test_new_items_are_projected_as_known_ones(name: str, pca_width: int) -> None:
    adapter = make_adapter(name, pca_width=pca_width)
    for parameter in adapter.parameters():  # as if trained
        torch.nn.init.normal_(parameter, std=0.3)
    projected = adapter.project(torch.from_numpy(make_embeddings()[1:]))
    if name in WITH_IDS:
        assert not torch.allclose(projected, adapter()[1:], atol=1e-2)
        torch.nn.init.zeros_(adapter.ids)  # a new item's
    torch.testing.assert_close(projected, adapter()[1:], atol=2e-5, rtol=1e-4)
    with pytest.raises(TslrecError, match=r"shape \(1, 19\).*vectors of 20 numbers"):
        adapter.project(torch.zeros(1, 19))


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_stored_adapter_comes_back(cycle: Path, tmp_path: Path, name: str) -> None:
    dataset, dataset_hash = load_dataset(cycle)
    path = stored_embeddings(tmp_path / "embed", dataset) if name != "none" else None
    config = TrainConfig(adapter=name, width=8, blocks=1, max_len=8, epochs=1, id_width=3, experts=3, pca_width=7)
    train(cycle, tmp_path / "run", config, embeddings_path=path, device=CPU, threads=1)
    found = load_recommender(tmp_path / "run", dataset_hash, CPU)
    table = found.item_table()
    assert table.shape == (dataset.n_items + 1, 8) and not table[0].any()
    again = ADAPTER_CLASSES[name].restore(config, found.adapter.state_dict())
    assert torch.equal(again(), table)
    new = torch.from_numpy(make_embeddings(5, seed=1))
    if name not in TABLES:
        assert torch.equal(again.project(new), found.adapter.project(new))


@pytest.mark.parametrize("name", ["recpca", "cca"])
def test_validation_and_test_items_change_no_start(cycle: Path, name: str) -> None:
    dataset, _ = load_dataset(cycle)
    items = dataset.histories.items.copy()
    ends = dataset.histories.indptr[1:]
    items[ends - 1], items[ends - 2] = 1, 2
    changed = replace(dataset, histories=replace(dataset.histories, items=items))
    config, embeddings = TrainConfig(adapter=name, width=WIDTH), make_embeddings(dataset.n_items)
    tables = [build_adapter(config, data.n_items, embeddings, data.training())() for data in (dataset, changed)]
    assert torch.equal(*tables)
    other = dataset.histories.items[::-1].copy()  # what is in the training histories does count
    moved = replace(dataset, histories=replace(dataset.histories, items=np.where(other % 3, other, 1)))
    assert not torch.equal(tables[0], build_adapter(config, moved.n_items, embeddings, moved.training())())


@pytest.mark.parametrize("name", ["init", "recpca", "cca"])
def test_a_table_that_decays_starts_where_others_do(name: str) -> None:
    plain, anchored = make_adapter(name), make_adapter(name, table_decay=0.5)
    assert torch.equal(plain(), anchored()) and not anchored.weight.any()
    anchored.weight.data[1:] = torch.randn(N_ITEMS, WIDTH)
    again = ADAPTER_CLASSES[name].restore(TrainConfig(adapter=name, width=WIDTH), anchored.state_dict())
    assert torch.equal(again(), anchored()) and not again()[0].any()


@pytest.mark.parametrize(("name", "decayed"), [("none", 1), ("init", 1), ("alphafuse", 1), ("gate", 1), ("linear", 0)])
def test_what_is_learned_item_by_item(name: str, decayed: int) -> None:
    adapter = make_adapter(name)
    found = adapter.item_parameters()
    assert len(found) == decayed and all(len(parameter) in (N_ITEMS, N_ITEMS + 1) for parameter in found)


@pytest.mark.parametrize("name", ["none", "cca"])
def test_decay_holds_items_where_they_started(cycle: Path, tmp_path: Path, name: str) -> None:
    """At a decay of 1 / learning rate a step takes back all before it, so no entry is further off than one step."""
    dataset, dataset_hash = load_dataset(cycle)
    path = stored_embeddings(tmp_path / "embed", dataset) if name != "none" else None
    moved = []
    for decay in (100.0, 0.01):
        config = TrainConfig(adapter=name, width=8, blocks=1, max_len=8, epochs=2, learning_rate=0.01, warmup_steps=0,
                             table_decay=decay)
        train(cycle, tmp_path / f"run-{decay}", config, embeddings_path=path, device=CPU, threads=1)
        adapter = load_recommender(tmp_path / f"run-{decay}", dataset_hash, CPU).adapter
        moved.append(adapter.weight.abs().max())
    assert 0 < moved[0] < 0.02 < moved[1]


def test_adapters_refuse_what_does_not_fit() -> None:
    vectors = make_embeddings(5)
    none = Histories(np.zeros(1, np.int64), np.zeros(0, np.int32))

    def build(embeddings: np.ndarray | None, **settings) -> None:
        build_adapter(TrainConfig(heads=1, **{"width": 4} | settings), 5, embeddings, none)

    for name in ADAPTERS[1:]:
        with pytest.raises(TslrecError, match="needs item embeddings"):
            build(None, adapter=name)
    with pytest.raises(TslrecError, match="takes no item embeddings"):
        build(vectors, adapter="none")
    with pytest.raises(TslrecError, match="5 rows; expected 6"):
        build(vectors[:5], adapter="init")
    for name in ("init", "recpca", "cca", "alphafuse"):
        with pytest.raises(TslrecError, match="--width 5 is more than the 4 principal components of 5 item embeddings"):
            build(vectors, adapter=name, width=5)
    for name in ("linear", "mlp", "whiten", "moe", "gate", "spectral"):
        with pytest.raises(TslrecError, match="--pca-width 5 is more than the 4 principal components"):
            build(vectors, adapter=name, pca_width=5)
    with pytest.raises(TslrecError, match="more than the 0 principal components"):
        build(np.ones_like(vectors), adapter="whiten")
    with pytest.raises(TslrecError, match="--id-width 5 is more than --width 4"):
        TrainConfig(adapter="alphafuse", width=4, id_width=5)
    for setting in ({"vectors": "both"}, {"control": "random"}):
        with pytest.raises(TslrecError, match="is only used with adapter; got adapter = none"):
            from_mapping(TrainConfig, setting, "train")
