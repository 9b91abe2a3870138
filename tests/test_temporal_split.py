"""The temporal split: one cut for all users, and nothing from it on in what is learned from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tslrec_min.configs import EvaluateConfig, PrepareConfig, PretrainConfig, TrainConfig
from tslrec_min.data.build import build_dataset, temporal_cuts
from tslrec_min.data.dataset import SPLITS, Dataset, load_dataset
from tslrec_min.data.hold_out import hold_out_items
from tslrec_min.data.prepare import prepare
from tslrec_min.data.raw.interactions import RawInteractions
from tslrec_min.data.raw.titles import RawItems
from tslrec_min.errors import TslrecError
from tslrec_min.storage.artifacts import Recipe, write_artifact

ITEMS = "abcdefgh"
TEXTS = RawItems({item: f"title {item}" for item in ITEMS})
Row = tuple[str, str, int]


def random_rows(seed: int) -> list[Row]:
    """Draw 5 to 80 interactions of 5 users with 8 items at 3 to 40 times."""
    random = np.random.default_rng(seed)
    latest = random.integers(3, 40)
    return [(f"u{random.integers(5)}", ITEMS[random.integers(8)], int(random.integers(latest)))
            for _ in range(random.integers(5, 80))]


INTERACTIONS = st.integers(0, 2**32).map(random_rows)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def split_of(rows: Sequence[Row], k_core: int = 1, shares: tuple[float, float] = (0.25, 0.25)) -> Dataset:
    try:
        return build_dataset(RawInteractions.of(*zip(*rows, strict=True)), TEXTS, k_core=k_core, shares=shares)
    except TslrecError as error:
        assume("too many are equal" not in str(error) and "lower --k-core" not in str(error))
        raise


def named(dataset: Dataset, histories: object) -> dict[str, list[str]]:
    return {user_id: [dataset.item_ids[item - 1] for item in histories.of(user).tolist()]  # type: ignore[attr-defined]
            for user, user_id in enumerate(dataset.user_ids)}


@given(INTERACTIONS, st.integers(0, 2))
@PATIENT
def test_parts_by_their_definition(rows: list[Row], k_core: int) -> None:
    dataset = split_of(rows, k_core)
    assert dataset.cuts is not None
    first, second = dataset.cuts
    ends = {"validation": (first, second), "test": (second, np.inf)}
    of_user = {user: sorted((row for row in rows if row[0] == user and row[1] in dataset.item_ids),
                            key=lambda row: row[2]) for user in dataset.user_ids}
    assert named(dataset, dataset.training()) == {
        user: [item for _, item, time in of_user[user] if time < first] for user in dataset.user_ids}
    assert set(dataset.item_ids) == {item for items in named(dataset, dataset.training()).values() for item in items}
    for split in SPLITS:
        asked, found = dataset.evaluation(split), {}
        histories = named(dataset, asked.histories)
        for user, target in zip(asked.users, asked.targets, strict=True):
            found[dataset.user_ids[user]] = (dataset.item_ids[target - 1], histories[dataset.user_ids[user]])
        start, end = ends[split]
        expected = {}
        for user, had in of_user.items():
            inside = [place for place, row in enumerate(had) if start <= row[2] < end]
            if inside:
                expected[user] = (had[inside[-1]][1], [item for _, item, _ in had[:inside[-1]]])
            else:
                assert histories[user] == [item for _, item, time in had if time < start]
        assert found == expected
    inner = dataset.within_training()
    for user, target in zip(inner.users, inner.targets, strict=True):
        assert [*inner.histories.of(user), target] == dataset.training().of(user).tolist()


@given(INTERACTIONS, st.integers(0, 2**32))
@PATIENT
def test_nothing_from_the_first_cut_on_is_learned_from(rows: list[Row], seed: int) -> None:
    dataset = split_of(rows, k_core=2)
    assert dataset.cuts is not None
    random = np.random.default_rng(seed)
    changed = [row if row[2] < dataset.cuts[0] else (str(random.choice(["u0", "u3", "new"])),
                                                     ITEMS[random.integers(8)], row[2]) for row in rows]
    other = split_of(changed, k_core=2)
    assert other.cuts == dataset.cuts
    assert other.user_ids == dataset.user_ids and other.item_ids == dataset.item_ids and other.titles == dataset.titles
    for one, two in ((dataset.training(), other.training()),
                     (dataset.within_training().histories, other.within_training().histories)):
        assert one.items.tolist() == two.items.tolist() and one.indptr.tolist() == two.indptr.tolist()


@given(INTERACTIONS, st.sampled_from([(0.25, 0.25), (0.1, 0.4), (0.4, 0.1)]))
@PATIENT
def test_cuts_are_quantiles_of_the_times(rows: list[Row], shares: tuple[float, float]) -> None:
    times = np.array([row[2] for row in rows])
    try:
        first, second = temporal_cuts(times, *shares)
    except TslrecError:
        return
    assert first in times and second in times and first < second
    for cut, share in ((first, sum(shares)), (second, shares[1])):
        assert (times < cut).sum() <= len(times) - round(share * len(times)) <= (times <= cut).sum()


def test_items_and_users_that_come_after_the_cut_are_left_out(tmp_path: Path) -> None:
    rows = [(f"u{step % 4}", ITEMS[step % 5], step) for step in range(40)]
    late = [("u1", "h", 38), ("late", "a", 39), ("u2", "a", 39)]
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,timestamp\n" + "".join(f"{user},{item},{time}\n" for user, item, time in [*rows, *late]))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"{item},{item}\n" for item in ITEMS))
    summary = prepare(tmp_path, tmp_path / "d", PrepareConfig(split="temporal"))
    dataset, _ = load_dataset(tmp_path / "d")
    assert dataset.item_ids == list("abcde") and dataset.user_ids == ["u0", "u1", "u2", "u3"]
    assert summary["new_after_training"] == 2 and summary["below_k_core"] == 0
    assert summary["interactions"] == 41 and summary["training_interactions"] == 34
    assert (summary["validation_from"], summary["test_from"]) == dataset.cuts == (34, 38)
    assert (summary["validation_users"], summary["test_users"]) == (4, 2)
    whole = prepare(tmp_path, tmp_path / "loo", PrepareConfig(k_core=0))
    assert whole["items"] == 6 and whole["users"] == 5 and "validation_from" not in whole


def test_the_hash_is_of_the_parts_too(tmp_path: Path) -> None:
    rows = [(f"u{step % 4}", ITEMS[step % 5], step) for step in range(40)]
    dataset = split_of(rows)
    assert dataset.cuts is not None
    hashes = {dataset.split_hash(), replace(dataset, cuts=None).split_hash(),
              replace(dataset, cuts=(dataset.cuts[0] + 1, dataset.cuts[1])).split_hash(),
              replace(dataset, cuts=(dataset.cuts[0], dataset.cuts[1] + 1)).split_hash()}
    assert len(hashes) == 4
    assert replace(dataset, cuts=(dataset.cuts[0] - 0.5, dataset.cuts[1])).split_hash() == dataset.split_hash()


def test_round_trip_and_damage(tmp_path: Path) -> None:
    dataset = split_of([(f"u{step % 4}", ITEMS[step % 5], step) for step in range(40)])
    for name, arrays in (("good", {}), ("cuts", {"cuts": [30, 20]}), ("three", {"cuts": [10, 20, 30]}),
                         ("times", {"timestamps": np.arange(3)}),
                         ("unsigned", {"indptr": dataset.histories.indptr.astype(np.uint64),
                                       "items": dataset.histories.items.astype(np.uint64)})):
        with write_artifact(tmp_path / name, Recipe("dataset", {}, {})) as folder:
            dataset.save(folder)
            with np.load(folder / "interactions.npz") as stored:
                np.savez(folder / "interactions.npz", **(dict(stored) | arrays))  # type: ignore[arg-type]
        if name in ("good", "unsigned"):
            loaded, _ = load_dataset(tmp_path / name)
            assert loaded.cuts == dataset.cuts and loaded.split_hash() == dataset.split_hash()
            assert loaded.statistics() == dataset.statistics() and loaded.histories.items.dtype == np.int32
        else:
            with pytest.raises(TslrecError, match="run tslrec prepare again"):
                load_dataset(tmp_path / name)


def test_artifacts_from_before_are_read_as_leave_one_out(tmp_path: Path) -> None:
    dataset = replace(split_of([(f"u{step % 4}", ITEMS[step % 5], step) for step in range(40)]), cuts=None)
    with write_artifact(tmp_path / "d", Recipe("dataset", {}, {})) as folder:
        dataset.save(folder)
    with np.load(tmp_path / "d" / "interactions.npz") as stored:
        assert sorted(stored.files) == ["indptr", "items", "timestamps"]  # what older versions wrote
    loaded, _ = load_dataset(tmp_path / "d")
    assert loaded.cuts is None and len(loaded.evaluation("test").users) == 4


@given(INTERACTIONS, st.integers(0, 5))
@PATIENT
def test_cold_items_with_it(rows: list[Row], seed: int) -> None:
    dataset = split_of(rows)
    try:
        held = hold_out_items(dataset, 0.3, seed)
    except TslrecError as error:
        assert "no user has one of them" in str(error)
        return
    assert held.cold is not None and held.cuts == dataset.cuts and dataset.cuts is not None
    warm = [row for row in rows if row[1] in held.item_ids]
    early = [row for row in warm if row[2] < dataset.cuts[0]]
    assert set(held.user_ids) == {user for user, _, _ in early}
    assert named(held, held.training()) == {user: [item for of, item, _ in sorted(early, key=lambda row: row[2])
                                                   if of == user] for user in held.user_ids}
    asked = held.cold_evaluation()
    for user, target in zip(asked.users, held.cold.targets, strict=True):
        user_id, item = held.user_ids[user], held.cold.item_ids[target - 1]
        last = max(time for of, item_, time in rows if of == user_id and item_ in held.cold.item_ids)
        assert any(row == (user_id, item, last) for row in rows) and last >= dataset.cuts[1]
        assert len(asked.histories.of(user)) <= sum(of == user_id and time <= last for of, _, time in warm)


def write_timed_cycle(folder: Path, changed: bool = False) -> Path:
    """Write histories in which item i is followed by i + 1, all users active throughout; `changed` alters the end."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(60):
        start = int(random.integers(24))
        for step in range(20):
            time = 1000 * step + user
            item = (start + step * (3 if changed and time >= 16_000 else 1)) % 24
            rows.append(f"u{user},i{item},{time}\n")
    folder.mkdir()
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    (folder / "items.tsv").write_text("item_id\ttitle\n" + "".join(f"i{item}\tTitle {item}\n" for item in range(24)))
    return folder


def test_the_stages_work_with_it_and_learn_the_same_from_changed_ends(tmp_path: Path) -> None:
    import torch

    from tslrec_min.categories.pretrain import pretrain
    from tslrec_min.evaluation.evaluate import evaluate
    from tslrec_min.recommenders.train import train

    cpu = torch.device("cpu")
    config = PrepareConfig(split="temporal", k_core=2)
    small = {"width": 16, "blocks": 1, "max_len": 8, "batch_size": 32, "epochs": 12, "learning_rate": 1e-2}
    weights = {}
    for changed in (False, True):
        folder = tmp_path / str(changed)
        folder.mkdir()
        summary = prepare(write_timed_cycle(folder / "raw", changed), folder / "d", config)
        assert summary["validation_from"] == 16_000 and summary["validation_users"] == summary["test_users"] == 60
        pretrain(folder / "d", folder / "p", PretrainConfig(**small, categories=4), device=cpu, threads=1)
        weights[changed] = [(folder / "p" / name).read_bytes() for name in ("model.safetensors", "categories.npz")]
        assert json.loads((folder / "p" / "metrics.json").read_text())["best_epoch"] >= 1
    assert weights[False] == weights[True]
    folder = tmp_path / "False"
    train(folder / "d", folder / "t", TrainConfig(**small), device=cpu, threads=1)
    for split in SPLITS:
        report = evaluate(folder / "d", {"a": [folder / "t"]}, EvaluateConfig(split=split, test="none"),
                          out=folder / split, device=cpu, threads=1)
        assert report["data"]["evaluated_users"] == 60 and report["data"]["split"] == "temporal"
        assert report["arms"]["a"]["unfiltered"]["hr@10"]["mean"] > 0.9
        assert len((folder / split / "users.txt").read_text().splitlines()) == 60
