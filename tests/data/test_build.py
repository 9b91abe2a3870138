"""From interactions to a data set: order, k-core, and the temporal split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.build import _kept, _order_of_ids, build_dataset, temporal_cuts
from tslrec_min.data.dataset import SPLITS, load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.data.raw.interactions import RawInteractions
from tslrec_min.data.raw.titles import RawItems
from tslrec_min.errors import TslrecError

from ..factories import raw_interactions
from .factories import INTERACTIONS, ITEMS, Row, named, split_of

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


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


def raw_of(rows: list[tuple[str, str, int]]) -> RawInteractions:
    return raw_interactions(*zip(*rows, strict=True))


def test_order_is_user_then_time_then_input() -> None:
    rows = [("b", "x", 5), ("a", "z", 9), ("a", "y", 1), ("a", "x", 9), ("b", "y", 5), ("a", "x", 1)]
    dataset = build_dataset(raw_of(rows), RawItems(dict.fromkeys("xyz", "t")), k_core=0)
    histories = [[dataset.item_ids[item - 1] for item in dataset.histories.of(user)] for user in range(2)]
    assert list(dataset.user_ids) == ["a", "b"] and histories == [["y", "x", "z", "x"], ["x", "y"]]


def test_numeric_ids_are_numbered_by_value_and_stay_strings() -> None:
    rows = [("10", "007", 1), ("9", "10", 2), ("9", "9", 3), ("x", "9", 4)]
    dataset = build_dataset(raw_of(rows), RawItems(dict.fromkeys(["007", "9", "10"], "t")), k_core=0)
    assert dataset.user_ids == ["9", "10", "x"] and dataset.item_ids == ["9", "10", "007"]


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
    names = tuple(map(str, range(7)))
    raw = RawInteractions(names, names, users, items, np.arange(len(users)))
    if kept:
        assert sorted(raw.by_user().times[_kept(raw.by_user(), k, None, 7)[0]].tolist()) == kept
    else:
        with pytest.raises(TslrecError, match=f"no interaction is left after the {k}-core"):
            _kept(raw.by_user(), k, None, 7)


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


def test_unknown_item_and_empty_core_and_bad_ids() -> None:
    with pytest.raises(TslrecError, match="1 items of the histories are not in the items file, the first is 'y'"):
        build_dataset(raw_of([("a", "x", 1), ("a", "y", 2)]), RawItems({"x": "t"}), k_core=0)
    with pytest.raises(TslrecError, match="'Å'; add their rows .*, the two files have different encodings"):
        build_dataset(raw_of([("a", "x", 1), ("a", "Å", 2)]), RawItems({"x": "t"}), k_core=0)
    with pytest.raises(TslrecError, match="lower --k-core"):
        build_dataset(raw_of([("a", "x", 1)]), RawItems({"x": "t"}), k_core=5)
    with pytest.raises(ValueError, match="a\tb"):
        raw_of([("a\tb", "x", 1)])
    nothing = RawInteractions([], [], np.empty(0, np.int32), np.empty(0, np.int32))
    with pytest.raises(TslrecError, match=r"the file \(or data frame\) has no rows; give one with a row for every"):
        build_dataset(nothing, RawItems(), k_core=0)
    nothing.below_min_rating, nothing.bad_rows = 3, {"time can't be read": {"rows": 2, "first_lines": [1, 2]}}
    with pytest.raises(TslrecError, match="no interactions .*: 3 are below .*used: 2 rows: time can't be read;"):
        build_dataset(nothing, RawItems(), k_core=0)


@given(st.lists(st.text(st.sampled_from("019aé七٣²\x01 "), min_size=1, max_size=12) | st.just("a" * 70), unique=True))
@settings(deadline=None)
def test_ids_are_in_the_order_of_python(names: list[str]) -> None:
    def place(name: str) -> tuple[bool, int, str]:
        return (False, len(name), name) if name.isdecimal() else (True, 0, name)

    assert [names[place] for place in _order_of_ids(names).tolist()] == sorted(names, key=place)
