"""Cold items: what is held out, that nothing learns from it, and how it is ranked in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tslrec_min.categories.artifact import load_categories
from tslrec_min.categories.pretrain import pretrain
from tslrec_min.configs import (
    ADAPTERS,
    EmbedConfig,
    EvaluateConfig,
    FinetuneConfig,
    PrepareConfig,
    PretrainConfig,
    TrainConfig,
)
from tslrec_min.data.build import build_dataset
from tslrec_min.data.cold import ColdItems
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.data.hold_out import hold_out_items
from tslrec_min.data.prepare import prepare
from tslrec_min.data.raw.interactions import RawInteractions
from tslrec_min.data.raw.titles import RawItems
from tslrec_min.embedding.embed import embed_base
from tslrec_min.embedding.store import Part
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.cold_start import ColdTargets
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.finetuning.samples import make_samples
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.llm.files import load_tokenizer
from tslrec_min.llm.prompts import PromptTemplate, item_texts, template_of
from tslrec_min.ranking.metrics import COLD_METRICS, hit_rate, metric_values, ndcg
from tslrec_min.recommenders.artifact import load_cold_rows, load_recommender
from tslrec_min.recommenders.inference import final_states
from tslrec_min.recommenders.train import projected_rows, train
from tslrec_min.storage.artifacts import Recipe, open_artifact, read_json, write_artifact

from .conftest import N_ITEMS
from .test_cli import tslrec

CPU = torch.device("cpu")
COLD = PrepareConfig(k_core=0, cold_items=0.2, cold_seed=3)
SMALL = {"width": 16, "blocks": 1, "max_len": 8, "batch_size": 32, "epochs": 2, "learning_rate": 5e-3}
HISTORIES = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=9), min_size=1, max_size=8)


def dataset_of(rows: list[list[int]]) -> Dataset:
    users = [f"u{user}" for user, row in enumerate(rows) for _ in row]
    raw = RawInteractions.of(users, [str(item) for row in rows for item in row], range(len(users)))
    titles = {str(item): f"title {item}" for item in range(8)}
    return build_dataset(raw, RawItems(titles, {"year": {item: f"19{item}" for item in titles}}), k_core=0)


def held_out(rows: list[list[int]], share: float, seed: int) -> tuple[Dataset, ColdItems]:
    """Hold items out; another example where no user has a target."""
    try:
        dataset = hold_out_items(dataset_of(rows), share, seed)
    except TslrecError:
        reject()
    assert dataset.cold is not None
    return dataset, dataset.cold


@pytest.fixture(scope="module")
def cold(cycle_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set artifact of the cycle data with 5 of 24 items cold."""
    out = tmp_path_factory.mktemp("cold") / "dataset"
    prepare(cycle_raw, out, COLD)
    return out


def write_random_embeddings(folder: Path, dataset: Dataset) -> np.ndarray:
    """Write random vectors; cold item 2 gets that of item 7. Return them."""
    ids = dataset.with_cold_items().item_ids
    vectors = np.stack([np.random.default_rng([*item.encode()]).normal(size=12) for item in ids]).astype(np.float32)
    vectors[dataset.n_items + 1] = vectors[6]
    with write_artifact(folder, Recipe("embed", {}, {})) as temporary:
        write_embeddings(temporary, [(np.arange(len(ids)), vectors)], dataset)
    return vectors


@pytest.fixture(scope="module")
def trained(cold: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of embeddings and of two runs: linear and none."""
    folder = tmp_path_factory.mktemp("cold-runs")
    write_random_embeddings(folder / "embed", load_dataset(cold)[0])
    train(cold, folder / "linear", TrainConfig(adapter="linear", **SMALL), embeddings_path=folder / "embed",
          device=CPU, threads=1)
    train(cold, folder / "none", TrainConfig(**SMALL), device=CPU, threads=1)
    return folder


@settings(deadline=None)
@given(HISTORIES, st.floats(0.01, 0.5), st.integers(0, 5))
def test_what_is_left_is_the_data_set_of_the_other_interactions(rows: list[list[int]], share: float, seed: int) -> None:
    dataset, cold = held_out(rows, share, seed)
    cold_ids = set(cold.item_ids)
    assert len(cold_ids) == max(1, round(share * (dataset.n_items + cold.n_items)))
    warm = dataset_of([[item for item in row if str(item) not in cold_ids] for row in rows])
    times = [time for time, item in enumerate(item for row in rows for item in row) if str(item) not in cold_ids]
    assert (dataset.item_ids, dataset.titles, dataset.fields, dataset.user_ids) == (
        warm.item_ids, warm.titles, warm.fields, warm.user_ids)
    assert dataset.histories.indptr.tolist() == warm.histories.indptr.tolist()
    assert dataset.histories.items.tolist() == warm.histories.items.tolist()
    assert dataset.timestamps is not None and dataset.timestamps.tolist() == times
    assert item_texts(dataset.with_cold_items(), PromptTemplate(text="fields", fields=("year",)))[-1] == (
        f"title {cold.item_ids[-1]} (year: 19{cold.item_ids[-1]})")


@settings(deadline=None)
@given(HISTORIES, st.integers(0, 5))
def test_targets_are_the_last_cold_items_after_a_warm_one(rows: list[list[int]], seed: int) -> None:
    dataset, cold = held_out(rows, 0.4, seed)
    cold_ids, expected = cold.item_ids, {}
    for user, row in enumerate(rows):
        names = [str(item) for item in row]
        for place, name in enumerate(names):
            before = [item for item in names[:place] if item not in cold_ids]
            if name in cold_ids and before:
                expected[f"u{user}"] = (name, before, [item for item in names[:place] if item in cold_ids])
    asked, found = dataset.cold_evaluation(), {}
    for row, user in enumerate(asked.users):
        earlier = cold.earlier[cold.indptr[row]:cold.indptr[row + 1]]
        found[dataset.user_ids[user]] = (
            dataset.with_cold_items().item_ids[asked.targets[row] - 1],
            [dataset.item_ids[item - 1] for item in asked.histories.of(user)], [cold_ids[item - 1] for item in earlier])
    assert found == expected


def test_round_trip_and_statistics(cycle_raw: Path, cold: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cold)
    assert dataset.cold is not None
    assert (dataset.n_items, dataset.cold.n_items) == (19, 5)
    summary = read_json(cold / "dataset.json")
    assert summary["cold_items"] == 5 and summary["interactions"] + summary["cold_interactions"] == 60 * 14
    assert summary["cold_users"] == len(dataset.cold.users) > 50
    direct = hold_out_items(load_dataset(prepared(cycle_raw, tmp_path / "all"))[0], 0.2, 3)
    assert direct.cold is not None
    for name in ("users", "targets", "warm_before", "indptr", "earlier"):
        assert np.array_equal(getattr(dataset.cold, name), getattr(direct.cold, name))
    assert (dataset.cold.item_ids, dataset.cold.titles) == (direct.cold.item_ids, direct.cold.titles)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "config.json", "dataset.json", "interactions.npz", "items.tsv", "users.txt"]  # as without this option


def prepared(raw: Path, out: Path) -> Path:
    prepare(raw, out, PrepareConfig(k_core=0))
    return out


def test_commands_say_what_is_cold_and_where_it_stands(cycle_raw: Path, trained: Path, cold: Path, tmp_path: Path
                                                       ) -> None:
    result = tslrec("prepare", cycle_raw, "-o", tmp_path / "d", "--k-core", 0, "--cold-items", 0.2, "--cold-seed", 3)
    assert result.exit_code == 0 and "cold items                5, with 1" in result.output
    assert "left out" not in result.output and "HTML" not in result.output  # what is zero
    result = tslrec("evaluate", cold, trained / "none", trained / "linear", "--threads", 1)
    lines = result.output.split("cold start: ")[1].splitlines()
    cells = {line.split("  ")[0]: line.split()[-6:] for line in lines[3:7]}
    assert cells["none"] == ["-"] * 6 and set(cells) == {"none", "linear", "(popularity)", "(random order)"}
    assert "-" not in cells["linear"] and float(cells["(random order)"][-1]) == 1  # 5 cold items, HR@50


def test_bad_input(cycle_raw: Path, tmp_path: Path) -> None:
    for share in (-0.1, 0.6, "nan"):
        result = tslrec("prepare", cycle_raw, "-o", tmp_path / "d", "--cold-items", share)
        assert result.exit_code != 0 and ("0<=x<=0.5" in result.output or "expected 0 to 0.5" in result.output)
    with pytest.raises(TslrecError, match=r"1 of 2 items are cold, and no user has.*raise --cold-items.*--cold-seed"):
        hold_out_items(dataset_of([[0], [1], [0]]), 0.5, 0)
    assert not (tmp_path / "d").exists()


def test_embeddings_of_cold_items_follow_the_others(cold: Path, llm: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cold)
    assert dataset.cold is not None

    def embed(out: Path, **options: object) -> int:
        return embed_base(cold, str(llm), PromptTemplate(), out, EmbedConfig(engine="torch", shard_size=7), device=CPU,
                          threads=1, **options)  # type: ignore[arg-type]

    embed(tmp_path / "e")
    embeddings = load_item_embeddings(tmp_path / "e", dataset)
    whole, found = embeddings.rows, embeddings.hashes["embeddings"]
    assert whole.shape == (N_ITEMS + 1, 64) and np.array_equal(embeddings.known, whole[:20])
    assert np.array_equal(embeddings.cold, whole[20:]) and len(embeddings.cold) == embeddings.n_cold
    ids = (tmp_path / "e" / "items.txt").read_text().split()
    assert ids == [*dataset.item_ids, *dataset.cold.item_ids]
    assert read_json(tmp_path / "e" / "embed.json")["items"] == N_ITEMS
    assert embed(tmp_path / "parts", part=Part(0, 2)) > 0 and embed(tmp_path / "parts", part=Part(1, 2)) == 0
    assert open_artifact(tmp_path / "parts", "embed").hash == found
    # the catalogue without cold items has the same prompts in another order: none is computed, each row is its own
    everything = tmp_path / "everything"
    with write_artifact(everything, Recipe("dataset", {}, {})) as folder:
        dataset.with_cold_items().save(folder)
    embed_base(everything, str(llm), PromptTemplate(), tmp_path / "more", EmbedConfig(engine="torch", shard_size=7),
               device=CPU, threads=1, append_to=tmp_path / "e")
    assert read_json(tmp_path / "more" / "embed.json")["kept"] == N_ITEMS
    with pytest.raises(TslrecError, match="24 items, expected 19; with unknown"):
        load_item_embeddings(tmp_path / "e", replace(dataset, cold=None))


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


def test_a_cold_item_with_a_warm_ones_vector_gets_its_score(cold: Path, trained: Path) -> None:
    dataset, dataset_hash = load_dataset(cold)
    asked = dataset.cold_evaluation()
    states, table = final_states(load_recommender(trained / "linear", dataset_hash, CPU), asked.histories, asked.users,
                                 device=CPU)
    rows = load_cold_rows(trained / "linear", 5)
    assert rows is not None
    np.testing.assert_allclose(states @ rows[1], states @ table[7], rtol=1e-5, atol=1e-6)
    assert not np.allclose(states @ rows[0], states @ table[7], rtol=1e-2, atol=1e-3)


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


def test_figures_equal_a_direct_computation(cold: Path, trained: Path) -> None:
    dataset, dataset_hash = load_dataset(cold)
    assert dataset.cold is not None
    report = evaluate(cold, {"linear": [trained / "linear"], "ids": [trained / "none"]}, EvaluateConfig(test="none"),
                      device=CPU, threads=1)
    found = report["cold"]
    rows = load_cold_rows(trained / "linear", 5)
    asked = dataset.cold_evaluation()
    states, table = final_states(load_recommender(trained / "linear", dataset_hash, CPU), asked.histories, asked.users,
                                 device=CPU)
    assert rows is not None
    counts = np.bincount(dataset.training().items, minlength=25)
    names, sums = ("all", "cold"), {}
    for row, (state, user, target) in enumerate(zip(states, asked.users, asked.targets, strict=True)):
        earlier = dataset.cold.earlier[dataset.cold.indptr[row]:dataset.cold.indptr[row + 1]] + 19
        had = {*asked.histories.of(user).tolist(), *earlier.tolist()} - {target}
        learned = np.concatenate([table, rows]) @ state
        for who, scores in (("linear", learned), ("popularity", counts), ("random", 0 * counts)):
            for among, first in zip(names, (1, 20), strict=True):
                others = [scores[item] for item in range(first, 25) if item not in had and item != target]
                greater, equal = np.sum(others > scores[target]), np.sum(others == scores[target])
                for metric, function, k in (("hr@10", hit_rate, 10), ("hr@50", hit_rate, 50), ("ndcg@10", ndcg, 10)):
                    value = float(function([greater], [equal], k)[0])
                    sums[who, among, metric] = sums.get((who, among, metric), 0) + value / len(states)
    for (who, among, metric), value in sums.items():
        given_value = found["arms"]["linear"][among][metric]["mean"] if who == "linear" else found[who][among][metric]
        assert given_value == pytest.approx(value), (who, among, metric)
    assert found["users"] == len(states) and found["items"] == 5
    assert found["arms"]["ids"] == {
        "reason": "none: the adapter none has vectors for the items it was trained with alone"}
    validation = evaluate(cold, {"a": [trained / "linear"]}, EvaluateConfig(split="validation"), device=CPU, threads=1)
    assert "cold" not in validation


@settings(deadline=None)
@given(HISTORIES, st.integers(0, 5))
def test_constant_scores_give_the_closed_form(rows: list[list[int]], seed: int) -> None:
    dataset, cold = held_out(rows, 0.4, seed)
    targets, width = ColdTargets(dataset), 3
    everyone = np.arange(len(targets.asked.users))
    found = targets.rank(np.ones((len(everyone), width)), np.full((dataset.n_items + 1, width), 2.0),
                         np.full((cold.n_items, width), 2.0), everyone, 1)
    for among in ("all", "cold"):
        for row, user in enumerate(targets.asked.users):
            had = {*(cold.earlier[cold.indptr[row]:cold.indptr[row + 1]].tolist())} - {cold.targets[row]}
            n = cold.n_items - len(had)
            if among == "all":
                n += dataset.n_items - len({*targets.asked.histories.of(user).tolist()})
            for k in (1, 3):
                assert metric_values(found[among], f"hr@{k}")[row] == pytest.approx(min(k, n) / n)


def reordered(raw: Path, out: Path, cold_ids: set[str]) -> Path:
    """Copy raw data with the cold interactions of every user elsewhere, twice or, of every third one, none at all."""
    out.mkdir()
    random, lines = np.random.default_rng(5), []
    for number, line in enumerate((raw / "sequences.txt").read_text().splitlines()):
        user, *items = line.split()
        kept = [item for item in items if item not in cold_ids]
        if number % 3:
            for item in [item for item in items if item in cold_ids for _ in range(2)]:
                kept.insert(random.integers(len(kept) + 1), item)
        lines.append(" ".join([user, *kept]))
    lines.append("only-cold " + " ".join(sorted(cold_ids)))  # a user without a warm item
    (out / "sequences.txt").write_text("\n".join(lines) + "\n")
    (out / "items.tsv").write_bytes((raw / "items.tsv").read_bytes())
    return out


def test_cold_interactions_change_nothing_that_is_learned(cycle_raw: Path, cold: Path, llm: Path, tmp_path: Path
                                                          ) -> None:
    first, _ = load_dataset(cold)
    assert first.cold is not None
    prepare(reordered(cycle_raw, tmp_path / "raw", set(first.cold.item_ids)), tmp_path / "dataset", COLD)
    config, learned = FinetuneConfig(model=str(llm), max_history=6), []
    for name, path in (("a", cold), ("b", tmp_path / "dataset")):
        dataset, dataset_hash = load_dataset(path)
        pretrain(path, tmp_path / f"{name}-pre", PretrainConfig(categories=4, **SMALL), device=CPU, threads=1)
        categories, pretrained = load_categories(tmp_path / f"{name}-pre", dataset, dataset_hash)
        samples = make_samples(dataset, categories, load_tokenizer(llm), template_of(config), config,
                               context_length=1024)
        vectors, run = tmp_path / f"{name}-embed", tmp_path / f"{name}-run"
        write_random_embeddings(vectors, dataset)
        train(path, run, TrainConfig(adapter="linear", **SMALL), embeddings_path=vectors, device=CPU, threads=1)
        learned.append((dataset, dataset_hash, pretrained, samples, open_artifact(run, "train").hash))
    (one, hash_one, pre_one, samples_one, run_one), (two, hash_two, pre_two, samples_two, run_two) = learned
    assert hash_one != hash_two and one.split_hash() == two.split_hash()  # they do differ, in the cold part alone
    assert pre_one == pre_two  # V, centroids and labels
    assert run_one == run_two  # the recommender, what it was fitted on, and the rows of the cold items
    for part in ("training", "held_out"):
        mine, theirs = getattr(samples_one, part), getattr(samples_two, part)
        assert mine.prompts == theirs.prompts and torch.equal(mine.preferences, theirs.preferences)
    found = [evaluate(path, {"run": [tmp_path / f"{name}-run"]}, EvaluateConfig(test="none"), device=CPU, threads=1)[
        "cold"] for name, path in (("a", cold), ("b", tmp_path / "dataset"))]
    assert set(found[0]["random"]["all"]) == set(COLD_METRICS) and found[0] != found[1]
