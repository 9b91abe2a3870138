from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslrec_min.data.hold_out import hold_out_items
from tslrec_min.errors import TslrecError
from tslrec_min.llm.prompts import PromptTemplate, item_texts

from ..factories import dataset_of, held_out, tslrec
from .factories import INTERACTIONS, Row, named, split_of

HISTORIES = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=9), min_size=1, max_size=8)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


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


def test_bad_input(cycle_raw: Path, tmp_path: Path) -> None:
    for share in (-0.1, 0.6, "nan"):
        result = tslrec("prepare", cycle_raw, "-o", tmp_path / "d", "--cold-items", share)
        assert result.exit_code != 0 and ("0<=x<=0.5" in result.output or "expected 0 to 0.5" in result.output)
    with pytest.raises(TslrecError, match=r"1 of 2 items are cold, and no user has.*raise --cold-items.*--cold-seed"):
        hold_out_items(dataset_of([[0], [1], [0]]), 0.5, 0)
    assert not (tmp_path / "d").exists()


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
