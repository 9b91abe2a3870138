"""Adapters: what they are fitted to, what is trained, what is stored, and items that training didn't know."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import ADAPTERS, TrainConfig
from tslrec_min.data.dataset import Dataset, Histories, load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.recommenders.adapters import adapter_classes, build_adapter
from tslrec_min.recommenders.adapters.base import Adapter
from tslrec_min.recommenders.adapters.cca import canonical_components
from tslrec_min.recommenders.adapters.components import Features, PrincipalComponents
from tslrec_min.recommenders.adapters.controls import controlled
from tslrec_min.recommenders.adapters.cooccurrence import neighbour_sums
from tslrec_min.recommenders.adapters.recpca import smooth_directions, total_variation
from tslrec_min.recommenders.artifact import load_recommender
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, read_json, write_artifact

CPU = torch.device("cpu")
N_ITEMS, WIDTH = 30, 8
TABLES, WITH_IDS = ("none", "init", "recpca", "cca"), ("alphafuse", "gate")
PROJECTIONS = [name for name in ADAPTERS if name not in TABLES]


def make_embeddings(n_items: int = N_ITEMS, seed: int = 0) -> np.ndarray:
    """Vectors that point the same way, with a falling spectrum, as those of language models."""
    random = np.random.default_rng(seed)
    vectors = 3 + random.normal(size=(n_items + 1, 20)) * np.geomspace(2, 0.1, 20)
    vectors[0] = 0
    return vectors.astype(np.float32)


def random_histories(seed: int = 0) -> Histories:
    """Forty histories of six items."""
    items = np.random.default_rng(seed).integers(1, N_ITEMS + 1, 240).astype(np.int32)
    return Histories(np.arange(0, 241, 6), items)


def stored_embeddings(path: Path, dataset: Dataset) -> Path:
    """Write an embed artifact of `make_embeddings`."""
    with write_artifact(path, Recipe("embed", {}, {})) as folder:
        write_embeddings(folder, [(np.arange(dataset.n_items), make_embeddings(dataset.n_items)[1:])], dataset)
    return path


def make_adapter(name: str, embeddings: np.ndarray | None = None, **settings) -> Adapter:
    """Build an adapter from `make_embeddings`, or others, with seed 0."""
    if embeddings is None and name != "none":
        embeddings = make_embeddings()
    torch.manual_seed(0)
    return build_adapter(TrainConfig(adapter=name, width=WIDTH, **settings), N_ITEMS, embeddings, random_histories())


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
    again = adapter_classes()[name].restore(config, found.adapter.state_dict())
    assert torch.equal(again(), table)
    new = torch.from_numpy(make_embeddings(5, seed=1))
    if name not in TABLES:
        assert torch.equal(again.project(new), found.adapter.project(new))


def test_principal_components_keep_distances_and_ignore_padding() -> None:
    embeddings = np.random.default_rng(0).normal(size=(21, 12))
    embeddings[0] = 1e6
    fitted = PrincipalComponents.fit(embeddings)
    components = fitted.centred @ fitted.directions  # all of them: a rotation
    np.testing.assert_allclose(np.linalg.norm(components[3] - components[7]),
                               np.linalg.norm(embeddings[4] - embeddings[8]))
    np.testing.assert_allclose(components.var(axis=0), fitted.variances)
    assert (np.diff(fitted.variances) <= 0).all() and fitted.rank == 12


def test_signs_are_fixed() -> None:
    embeddings = make_embeddings().astype(np.float64)
    fitted = PrincipalComponents.fit(embeddings)
    largest = np.abs(fitted.directions).argmax(axis=0)
    assert (fitted.directions[largest, np.arange(20)] > 0).all()
    # Another order of the items is another order of the sums in the covariance, and nothing else.
    order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(N_ITEMS)])
    np.testing.assert_allclose(PrincipalComponents.fit(embeddings[order]).directions, fitted.directions, atol=1e-8)


def test_whitened_features_have_the_covariance_of_the_identity() -> None:
    for components in (0, 6):
        items = Features.whitened(make_embeddings(), components, "--pca-width").items.double().numpy()
        assert items.shape == (N_ITEMS, components or 20)
        np.testing.assert_allclose(items.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(np.cov(items.T, bias=True), np.eye(items.shape[1]), atol=1e-5)
    # A catalogue of fewer items than numbers has no more components than items, less one.
    assert Features.whitened(make_embeddings(10), 0, "--pca-width").width == 9


def test_centred_features_have_rows_of_norm_1() -> None:
    for components in (0, 6):
        items = Features.centred(make_embeddings(), components).items
        torch.testing.assert_close(items.mean(dim=0), torch.zeros(items.shape[1]), atol=1e-6, rtol=0)
        torch.testing.assert_close(items.square().sum(dim=1).mean(), torch.tensor(1.0))


def test_alphafuse_is_its_formula() -> None:
    adapter = make_adapter("alphafuse", id_width=3)
    ids = torch.randn(N_ITEMS, 3)
    torch.testing.assert_close(adapter.ids.detach(), torch.zeros(N_ITEMS, 3))
    adapter.ids.data.copy_(ids)
    text = torch.from_numpy(make_embeddings()[1:]).double()
    centred = text - text.mean(0)
    u, s, _ = torch.linalg.svd(torch.cov(centred.T, correction=0))
    frozen = 0.02 * centred @ u[:, :WIDTH] / s[:WIDTH].sqrt()
    table = adapter()[1:].double()
    signs = torch.sign((table[:, :5] * frozen[:, :5]).sum(0))  # svd's signs are arbitrary
    torch.testing.assert_close(table[:, :5], frozen[:, :5] * signs, atol=1e-6, rtol=1e-5)
    rest = table[:, 5:] - ids
    torch.testing.assert_close(rest, frozen[:, 5:] * torch.sign((rest * frozen[:, 5:]).sum(0)), atol=1e-6, rtol=1e-5)
    assert make_adapter("alphafuse").ids.shape == (N_ITEMS, WIDTH // 2)


def test_init_starts_from_whitened_components() -> None:
    vectors = make_embeddings()
    centred = vectors[1:].astype(np.float64) - vectors[1:].mean(axis=0, dtype=np.float64)
    left = np.linalg.svd(centred, full_matrices=False)[0][:, :WIDTH]  # of equal variance whatever the singular values
    expected = left / np.linalg.norm(left, axis=1, keepdims=True) * 0.1 * math.sqrt(WIDTH)
    table = make_adapter("init", vectors)()[1:].detach().numpy()
    signs = np.sign((table * expected).sum(axis=0))
    np.testing.assert_allclose(table, expected * signs, atol=1e-5)
    plain, smaller = (make_adapter("init", vectors, **options)()[1:].detach().numpy()
                      for options in ({"init_whitening": False}, {"table_std": 0.02}))
    assert not np.allclose(table, plain, atol=1e-2)
    np.testing.assert_allclose(smaller, table / 5, atol=1e-6)


def test_recpca_is_pca_without_the_penalty_and_smoother_with_it() -> None:
    histories = random_histories()
    fitted = PrincipalComponents.fit(make_embeddings())
    plain = smooth_directions(fitted.centred, WIDTH, 0.0, histories)
    np.testing.assert_allclose(plain @ plain.T, fitted.directions[:, :WIDTH] @ fitted.directions[:, :WIDTH].T,
                               atol=1e-9)
    torch.testing.assert_close(make_adapter("recpca", recpca_lambda=0.0)(),
                               make_adapter("init", init_whitening=False, table_std=0.02)())
    variation = total_variation(fitted.centred, histories)
    ratios = []
    for weight in (0.0, 0.2, 0.5, 0.8):
        chosen = smooth_directions(fitted.centred, WIDTH, weight, histories)
        np.testing.assert_allclose(chosen.T @ chosen, np.eye(WIDTH), atol=1e-9)
        ratios.append(np.trace(chosen.T @ variation @ chosen)
                      / np.trace(chosen.T @ fitted.centred.T @ fitted.centred @ chosen))
    assert (np.diff(ratios) < 0).all()


def test_total_variation_sums_over_neighbours_in_histories() -> None:
    rows = PrincipalComponents.fit(make_embeddings()).centred
    # The second user's history is empty, the fourth's repeats an item; 5 and 9 are of different users.
    histories = Histories(np.array([0, 3, 3, 5, 8]), np.array([1, 30, 5, 9, 1, 4, 4, 1], dtype=np.int32))
    expected = sum(np.outer(rows[i - 1] - rows[j - 1], rows[i - 1] - rows[j - 1])
                   for i, j in ((1, 30), (30, 5), (9, 1), (4, 1)))
    np.testing.assert_allclose(total_variation(rows, histories), expected, atol=1e-9)


def test_recpca_warns_where_the_penalty_outweighs_the_variance(caplog: pytest.LogCaptureFixture) -> None:
    make_adapter("recpca", recpca_lambda=3.0)
    assert re.search("of 8 components differ more.*of the variance is kept; lower --rec", caplog.text)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    lonely = Histories(np.arange(N_ITEMS + 1), np.arange(1, N_ITEMS + 1, dtype=np.int32))
    with pytest.raises(TslrecError, match="no training history has two different ones in a row; choose init"):
        build_adapter(TrainConfig(adapter="recpca", width=WIDTH), N_ITEMS, make_embeddings(), lonely)


@pytest.mark.parametrize("window", [1, 2, 3, 50])
def test_neighbour_sums_add_up_pairs_of_different_items_of_a_history(window: int) -> None:
    rows = np.random.default_rng(3).normal(size=(N_ITEMS, 4))
    histories = [[1, 30, 5], [], [9, 1], [4, 4, 1, 30, 4], [7]]
    expected, degrees = np.zeros_like(rows), np.zeros(N_ITEMS, np.int64)
    for history in histories:
        for place, item in enumerate(history):
            for other_place, other in enumerate(history):
                if item != other and abs(place - other_place) <= window:
                    expected[item - 1] += rows[other - 1]
                    degrees[item - 1] += 1
    flat = Histories(np.cumsum([0, *map(len, histories)]), np.concatenate(histories).astype(np.int32))
    sums, found = neighbour_sums(rows, flat, window)
    np.testing.assert_allclose(sums, expected, atol=1e-12)
    np.testing.assert_array_equal(found, degrees)


def test_cca_solves_its_equation() -> None:
    histories, fitted = random_histories(), PrincipalComponents.fit(make_embeddings())
    vectors, correlations = canonical_components(fitted.centred, WIDTH, histories, 3)
    # The pairs as two tables of as many rows, as textbooks have it.
    pairs = [(history[a] - 1, history[b] - 1) for history in map(histories.of, range(len(histories)))
             for a in range(6) for b in range(6) if history[a] != history[b] and abs(a - b) <= 3]
    one, other = (fitted.centred[np.array(side)] for side in zip(*pairs, strict=True))
    mean = one.mean(axis=0)
    within = (one - mean).T @ (one - mean)
    within += 0.01 * np.trace(within) / len(within) * np.eye(len(within))
    expected, directions = scipy.linalg.eigh((one - mean).T @ (other - mean), within)
    np.testing.assert_allclose(correlations, expected[::-1][:WIDTH], atol=1e-9)
    scores = (fitted.centred - mean) @ directions[:, ::-1][:, :WIDTH]
    np.testing.assert_allclose(np.abs(vectors), np.abs(scores), atol=1e-8)
    table = make_adapter("cca", cca_window=3, table_std=1.0)().detach().numpy()[1:]
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), np.sqrt(WIDTH), rtol=1e-5)


def test_cca_finds_what_histories_share() -> None:
    """Of 20 components the histories are about the smallest one alone, which PCA puts last."""
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(201, 20)) * np.geomspace(5, 0.1, 20)
    above = np.flatnonzero(embeddings[1:, -1] > 0) + 1
    below = np.setdiff1d(np.arange(1, 201), above)
    items = np.concatenate([random.choice(side, 10, replace=False) for side in (above, below) * 40]).astype(np.int32)
    histories = Histories(np.arange(0, len(items) + 1, 10), items)
    fitted = PrincipalComponents.fit(embeddings)
    whitened = fitted.centred @ fitted.directions / np.sqrt(fitted.variances)
    vectors, correlations = canonical_components(whitened, 2, histories, 10)
    assert abs(np.corrcoef(vectors[:, 0], embeddings[1:, -1])[0, 1]) > 0.9
    assert correlations[0] > 0.5 > 2 * correlations[1]
    lonely = Histories(np.arange(N_ITEMS + 1), np.arange(1, N_ITEMS + 1, dtype=np.int32))
    with pytest.raises(TslrecError, match="no training history has two different ones within --cca-window"):
        build_adapter(TrainConfig(adapter="cca", width=WIDTH), N_ITEMS, make_embeddings(), lonely)


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
    again = adapter_classes()[name].restore(TrainConfig(adapter=name, width=WIDTH), anchored.state_dict())
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


def test_an_item_uses_two_experts() -> None:
    adapter = make_adapter("moe", experts=5)
    features = adapter.features.items
    weights, chosen = adapter.routes(features)
    assert chosen.shape == (N_ITEMS, 2) and (chosen[:, 0] != chosen[:, 1]).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(N_ITEMS))
    logits = adapter.gate(features)
    assert torch.equal(chosen.sort(dim=1)[0], logits.argsort(dim=1)[:, -2:].sort(dim=1)[0])
    outputs = torch.stack([expert(features) for expert in adapter.experts], dim=1)  # [I, experts, d]
    mix = torch.zeros(N_ITEMS, 5).scatter(1, chosen, weights)
    torch.testing.assert_close(adapter.vectors(features), torch.einsum("ne,ned->nd", mix, outputs))
    assert len(chosen.unique()) == 5  # none is out of work at the start


def effective_rank(table: torch.Tensor) -> float:
    """Return the exponential of the entropy of the normalised singular values."""
    values = torch.linalg.svdvals(table.detach())
    shares = values / values.sum()
    return math.exp(-(shares * shares.clamp_min(1e-12).log()).sum())


def test_spectral_vectors_do_not_collapse() -> None:
    adapter = make_adapter("spectral")
    assert effective_rank(adapter()[1:]) > 0.6 * WIDTH
    weights = adapter.weights()
    assert (weights > 0).any(dim=1).all() and (weights < 0).any(dim=1).all()  # it adds and subtracts components
    adapter.queries.data[:] = adapter.queries.data[0]
    adapter.sign_queries.data[:] = adapter.sign_queries.data[0]
    assert effective_rank(adapter()[1:]) < 1.01  # every number attends to the same


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
        with pytest.raises(TslrecError, match="is read only with adapter; got adapter = none"):
            from_mapping(TrainConfig, setting, "train")


def test_arms_of_a_run_have_adapters_and_controls(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    arm = '[[arms]]\nname = "{}"\nembeddings = "untuned"\nadapter = "{}"\ncontrol = "{}"\n'
    config.write_text('source = "x"\n' + arm.format("a", "moe", "none") + arm.format("b", "alphafuse", "shuffled"))
    assert [(found.train.adapter, found.train.control) for found in load_run_config(config).arms] == [
        ("moe", "none"), ("alphafuse", "shuffled")]
    config.write_text('source = "x"\n[[arms]]\ncontrol = "random"\n')
    with pytest.raises(TslrecError, match="control = random is read only with adapter; got adapter = none"):
        load_run_config(config)
