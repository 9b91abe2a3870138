"""The data set artifact and the leave-one-out split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.errors import TslrecError
from tslrec_min.llm.prompts import PromptTemplate, item_texts
from tslrec_min.storage.artifacts import Recipe, write_artifact

from .factories import ITEMS, split_of


def test_split_is_leave_one_out_and_keeps_every_interaction(cycle: Path) -> None:
    dataset, _ = load_dataset(cycle)
    training = dataset.training()
    validation, test, inner = dataset.evaluation("validation"), dataset.evaluation("test"), dataset.within_training()
    for place, user in enumerate(test.users):
        whole = dataset.histories.of(user).tolist()
        assert [*training.of(user), validation.targets[place], test.targets[place]] == whole
        assert validation.histories.of(user).tolist() == training.of(user).tolist()
        assert test.histories.of(user).tolist() == dataset.before("test").of(user).tolist() == whole[:-1]
        assert [*inner.histories.of(user), inner.targets[place]] == training.of(user).tolist()


def test_artifact_round_trip_and_damage(cycle_raw: Path, tmp_path: Path) -> None:
    summary = prepare(cycle_raw, tmp_path / "d", PrepareConfig(k_core=2))
    dataset, _ = load_dataset(tmp_path / "d")
    assert summary["users"] == dataset.n_users == 60 and summary["items"] == dataset.n_items == 24
    assert dataset.split_hash() == summary["split_hash"]
    titles = dict(zip(dataset.item_ids, dataset.titles, strict=True))
    assert titles["i2"] == "Amélie 2" and titles["i3"] == "七人の侍 3"
    (tmp_path / "d" / "interactions.npz").write_bytes((tmp_path / "d" / "interactions.npz").read_bytes()[:100])
    with pytest.raises(TslrecError, match="damaged"):
        load_dataset(tmp_path / "d")


def write_described(folder: Path) -> Path:
    folder.mkdir()
    (folder / "sequences.txt").write_text("u1 a b c\nu2 b a c\n")
    (folder / "items.tsv").write_text("item_id\ttitle\tyear\tclass\na\tHeat &amp; Dust\t1983\tDrama Romance\n"
                                      "b\t\t1995\t\nc\tFargo\t\t\nd\t&lt;unused&gt;\t\t\n")
    return folder


def test_texts_of_items_and_their_round_trip(tmp_path: Path) -> None:
    raw = write_described(tmp_path / "raw")
    summary = prepare(raw, tmp_path / "d", PrepareConfig(k_core=0, item_fields="class, year"))
    dataset, _ = load_dataset(tmp_path / "d")
    assert summary["unescaped_items"] == 1  # of the items that stay
    assert dataset.fields == {"class": ["Drama Romance", "", ""], "year": ["1983", "1995", ""]}
    assert item_texts(dataset, PromptTemplate()) == ["Heat & Dust", "", "Fargo"]
    assert item_texts(dataset, PromptTemplate(text="id")) == ["item a", "item b", "item c"]
    assert item_texts(dataset, PromptTemplate(text="fields", fields=("year", "class"))) == [
        "Heat & Dust (year: 1983; class: Drama Romance)", "(untitled) (year: 1995)", "Fargo"]
    with pytest.raises(TslrecError, match=r"no item column colour \(it has: class, year\); prepare it with"):
        item_texts(dataset, PromptTemplate(text="fields", fields=("year", "colour")))


def test_data_sets_without_further_columns_are_read_as_before(tmp_path: Path) -> None:
    raw = write_described(tmp_path / "raw")
    prepare(raw, tmp_path / "d", PrepareConfig(k_core=0))
    assert (tmp_path / "d" / "items.tsv").read_text() == "item_id\ttitle\na\tHeat & Dust\nb\t\nc\tFargo\n"
    dataset, _ = load_dataset(tmp_path / "d")
    assert dataset.fields == {}
    with pytest.raises(TslrecError, match=r"no item column year \(it has: none\)"):
        item_texts(dataset, PromptTemplate(text="fields", fields=("year",)))


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
