"""Preparation, the data set artifact and the leave-one-out split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.build import build_dataset, k_core_mask
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.histories import Histories
from tslrec_min.data.prepare import prepare
from tslrec_min.data.raw.interactions import RawInteractions
from tslrec_min.data.raw.titles import RawItems
from tslrec_min.errors import TslrecError
from tslrec_min.llm.prompts import PromptTemplate, item_texts

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


def raw_of(rows: list[tuple[str, str, int]]) -> RawInteractions:
    return RawInteractions.of(*zip(*rows, strict=True))


def test_order_is_user_then_time_then_input() -> None:
    rows = [("b", "x", 5), ("a", "z", 9), ("a", "y", 1), ("a", "x", 9), ("b", "y", 5), ("a", "x", 1)]
    dataset = build_dataset(raw_of(rows), RawItems(dict.fromkeys("xyz", "t")), k_core=0)
    histories = [[dataset.item_ids[item - 1] for item in dataset.histories.of(user)] for user in range(2)]
    assert list(dataset.user_ids) == ["a", "b"] and histories == [["y", "x", "z", "x"], ["x", "y"]]


def test_numeric_ids_are_numbered_by_value_and_stay_strings() -> None:
    rows = [("10", "007", 1), ("9", "10", 2), ("9", "9", 3), ("x", "9", 4)]
    dataset = build_dataset(raw_of(rows), RawItems(dict.fromkeys(["007", "9", "10"], "t")), k_core=0)
    assert dataset.user_ids == ["9", "10", "x"] and dataset.item_ids == ["9", "10", "007"]


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=40))
def test_the_first_of_equal_rows_stays(rows: list[tuple[int, int, int]]) -> None:
    users, items, times = (np.array([row[column] for row in rows], np.int32) for column in range(3))
    found = RawInteractions(["a", "b", "c"], ["x", "y", "z"], users, items, times / 2).without_duplicates()
    assert found.times is not None
    kept = list(zip(found.users.tolist(), found.items.tolist(), (found.times * 2).tolist(), strict=True))
    assert kept == list(dict.fromkeys(rows)) and found.duplicates == len(rows) - len(kept)


def test_copies_of_rows_change_nothing_and_are_counted(tmp_path: Path) -> None:
    rows = [f"u{row % 7},i{row % 5},{row // 3}\n" for row in range(70)]
    for name, lines in (("once", rows), ("twice", [*rows, *rows[::2]])):
        (tmp_path / f"{name}.csv").write_text("".join(["user_id,item_id,timestamp\n", *lines]))
    config = PrepareConfig(missing_titles="blank")
    once, twice = (prepare(tmp_path / f"{name}.csv", tmp_path / name, config) for name in ("once", "twice"))
    assert once["duplicates"] == 0 and twice == once | {"duplicates": 35, "raw_interactions": 105}
    kept = prepare(tmp_path / "twice.csv", tmp_path / "kept", replace(config, duplicates="keep"))
    assert kept["interactions"] == kept["raw_interactions"] == 105 and kept["duplicates"] == 0


def test_without_times_a_repeated_item_is_a_repeat(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("u1 a a b a\nu2 b a\n")
    found = prepare(tmp_path, tmp_path / "d", PrepareConfig(k_core=0, missing_titles="blank"))
    assert found["interactions"] == 6 and found["duplicates"] == 0


@given(PAIRS, st.integers(0, 4))
def test_k_core_is_the_largest_set_that_satisfies_it(pairs: list[tuple[int, int]], k: int) -> None:
    users, items = (np.array(column) for column in zip(*pairs, strict=True))
    kept = list(range(len(pairs)))
    while True:  # drop one offender at a time: the k-core doesn't depend on the order
        offender = next((row for row in kept if sum(users[kept] == users[row]) < k
                         or sum(items[kept] == items[row]) < k), None)
        if offender is None:
            break
        kept.remove(offender)
    assert np.flatnonzero(k_core_mask(users, items, k)).tolist() == kept


@given(st.lists(st.lists(st.integers(1, 9), max_size=7), min_size=1, max_size=8), st.integers(1, 5))
def test_cuts_of_histories(rows: list[list[int]], count: int) -> None:
    indptr = np.cumsum([0, *map(len, rows)])
    histories = Histories(indptr, np.array([item for row in rows for item in row], np.int32))
    dropped = np.minimum([len(row) for row in rows], count)
    for user, row in enumerate(rows):
        assert histories.last(count).of(user).tolist() == row[-count:]
        assert histories.without_last(dropped).of(user).tolist() == row[:-count]


def test_split_is_leave_one_out_and_keeps_every_interaction(cycle: Path) -> None:
    dataset, _ = load_dataset(cycle)
    training = dataset.training()
    validation, test, inner = dataset.evaluation("validation"), dataset.evaluation("test"), dataset.within_training()
    for place, user in enumerate(test.users):
        whole = dataset.histories.of(user).tolist()
        assert [*training.of(user), validation.targets[place], test.targets[place]] == whole
        assert validation.histories.of(user).tolist() == training.of(user).tolist()
        assert test.histories.of(user).tolist() == whole[:-1]
        assert [*inner.histories.of(user), inner.targets[place]] == training.of(user).tolist()


def test_short_histories_are_for_training_only() -> None:
    rows = [("a", "x", 1), ("a", "y", 2), ("b", "x", 1), ("b", "y", 2), ("b", "z", 3)]
    dataset = build_dataset(raw_of(rows), RawItems(dict.fromkeys("xyz", "t")), k_core=0)
    assert dataset.evaluation("test").users.tolist() == [1]
    assert [dataset.training().of(user).tolist() for user in range(2)] == [[1, 2], [1]]


def test_the_split_hash_tells_ids_with_spaces_apart() -> None:
    texts = RawItems(dict.fromkeys(["a", "b", "a b", "b a"], "t"))
    rows = [[("u", item, time) for time, item in enumerate(items)]
            for items in (["a b", "a", "b", "b", "a"], ["a", "b", "a b", "b", "a"], ["a", "b", "a", "b", "b a"])]
    assert len({build_dataset(raw_of(of_user), texts, k_core=0).split_hash() for of_user in rows}) == 3


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


def test_same_input_gives_the_same_artifact_hash(cycle_raw: Path, tmp_path: Path) -> None:
    hashes = set()
    for name in "ab":
        prepare(cycle_raw, tmp_path / name, PrepareConfig())
        hashes.add(load_dataset(tmp_path / name)[1])
    assert len(hashes) == 1


def test_unknown_item_and_empty_core_and_bad_ids() -> None:
    with pytest.raises(TslrecError, match="1 items of the histories are not in the items file, the first is 'y'"):
        build_dataset(raw_of([("a", "x", 1), ("a", "y", 2)]), RawItems({"x": "t"}), k_core=0)
    with pytest.raises(TslrecError, match="'Å'; add their rows .*, the two files have different encodings"):
        build_dataset(raw_of([("a", "x", 1), ("a", "Å", 2)]), RawItems({"x": "t"}), k_core=0)
    with pytest.raises(TslrecError, match="lower --k-core"):
        build_dataset(raw_of([("a", "x", 1)]), RawItems({"x": "t"}), k_core=5)
    with pytest.raises(ValueError, match="a\tb"):
        raw_of([("a\tb", "x", 1)])
    nothing = RawInteractions.of([], [])
    with pytest.raises(TslrecError, match=r"the file \(or data frame\) has no rows; give one with a row for every"):
        build_dataset(nothing, RawItems(), k_core=0)
    nothing.below_min_rating, nothing.bad_rows = 3, {"time can't be read": {"rows": 2, "first_lines": [1, 2]}}
    with pytest.raises(TslrecError, match="no interactions .*: 3 are below .*used: 2 rows: time can't be read;"):
        build_dataset(nothing, RawItems(), k_core=0)


@pytest.mark.parametrize(("name", "users", "items", "interactions"), [
    ("ml-100k", 943, 1349, 99287), ("ml-1m", 6040, 3416, 999611), ("amazon-beauty", 22363, 12101, 198502)])
def test_real_data_has_the_published_size(real_data: Path, tmp_path: Path, name: str, users: int, items: int,
                                          interactions: int) -> None:
    summary = prepare(real_data / name, tmp_path / "d", PrepareConfig())
    assert (summary["users"], summary["items"], summary["interactions"]) == (users, items, interactions)
