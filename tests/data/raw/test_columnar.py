from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tslrec_min
from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare_frames
from tslrec_min.errors import TslrecError
from tslrec_min.storage.existing import Existing

from .factories import HISTORIES, ROWS, TITLES, check, histories, packed, prepared

NAMES = {"user_column": "who", "item_column": "what", "time_column": "when", "rating_column": "stars",
         "title_column": "label"}


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "raw").mkdir()
    file = tmp_path / "raw" / "interactions.parquet"
    columns = {name: list(values) for name, values in zip(("who", "what", "stars", "when"), zip(*ROWS, strict=True),
                                                           strict=True)}
    parquet.write_table(arrow.table(columns), file)
    parquet.write_table(arrow.table({"what": list(TITLES), "label": list(TITLES.values())}),
                        tmp_path / "raw" / "items.parquet")
    check(prepared(file, tmp_path / "a", **NAMES))
    check(prepared(tmp_path / "raw", tmp_path / "b", **NAMES))
    with pytest.raises(TslrecError, match="no column for --user-column user_id, --item-column item_id"):
        prepared(file, tmp_path / "c", time_column="when")
    when = arrow.array(columns["when"], arrow.int64()).cast(arrow.timestamp("s")).cast(arrow.timestamp("ns"))
    parquet.write_table(arrow.table(columns | {"when": when, "what": [None, *columns["what"][1:]]}), file)
    with pytest.raises(TslrecError, match="interactions.parquet, line 1: the user or item id is empty"):
        prepared(file, tmp_path / "d", **NAMES)
    dataset = prepared(file, tmp_path / "e", on_bad_row="skip", **NAMES)
    assert dataset.timestamps is not None and dataset.timestamps.tolist() == [1400000020, 1400000010, 1400000040]
    who = arrow.array([Decimal(2**60 + number) for number in (1, 2, 1, 2)], arrow.decimal128(20, 0))
    parquet.write_table(arrow.table(columns | {"who": who}), file)
    assert prepared(file, tmp_path / "g", **NAMES).user_ids == [str(2**60 + 1), str(2**60 + 2)]
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(TslrecError, match="can't be read as Parquet"):
        prepared(file, tmp_path / "f", **NAMES)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(TslrecError, match=r"pip install 'tslrec-min\[parquet\]'"):
        prepared(packed(tmp_path / "interactions.parquet", "x"), tmp_path / "d",
                 items=packed(tmp_path / "t.csv", "item_id,title\na,A\n"))


class PlainFrame:
    """What is used of a data frame, and no more."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = {name: np.array(values) for name, values in columns.items()}
        self.columns = list(columns)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, name: str) -> Any:
        class Column:
            def __init__(self, values: Any) -> None:
                self.to_numpy = lambda: values

        return Column(self._columns[name])


@pytest.mark.parametrize("kind", ["plain", "pandas"])
def test_frames(tmp_path: Path, kind: str) -> None:
    frame = PlainFrame if kind == "plain" else pytest.importorskip("pandas").DataFrame
    users, items, ratings, times = zip(*ROWS, strict=True)
    columns = {"user_id": list(users), "item_id": [{"a": 1, "b": 2}[item] for item in items], "rating": list(ratings),
               "timestamp": list(times)}
    titles = frame({"item_id": [1, 2], "title": ["Amélie", "Heat &amp; Dust"]})
    config = PrepareConfig(k_core=0)
    summary = prepare_frames(frame(columns), titles, tmp_path / "a", config)
    dataset, _ = load_dataset(tmp_path / "a")
    assert histories(dataset) == {"u1": ["1", "2"], "u2": ["1", "2"]} and dataset.titles == ["Amélie", "Heat & Dust"]
    assert summary["unescaped_items"] == 1 and summary["duplicates"] == 0
    twice = prepare_frames(frame({name: values * 2 for name, values in columns.items()}), titles, tmp_path / "d",
                           config)
    assert twice["duplicates"] == len(ROWS) and twice["split_hash"] == summary["split_hash"]
    stamp = (tmp_path / "a" / "config.json").stat().st_mtime_ns
    prepare_frames(frame(columns), titles, tmp_path / "a", config, existing=Existing.REUSE)
    assert (tmp_path / "a" / "config.json").stat().st_mtime_ns == stamp
    with pytest.raises(TslrecError, match="the frame of items has no column for --item-column item_id"):
        prepare_frames(frame(columns), frame({"id": [1], "title": ["x"]}), tmp_path / "b", config)
    with pytest.raises(TslrecError, match="the frame of interactions, line 2: time 'noon'"):
        prepare_frames(frame(columns | {"timestamp": ["1", "noon", "3", "4"]}), titles, tmp_path / "c", config)


def test_frames_through_the_public_function(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    users, items, _, times = zip(*ROWS, strict=True)
    frame = pandas.DataFrame({"reader": users, "item_id": items, "timestamp": times})
    titles = pandas.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    found = tslrec_min.prepare(frame, tmp_path / "a", items=titles, user_column="reader", k_core=0)
    assert found.metrics["users"] == 2 and pandas.DataFrame(found.rows).title.tolist() == ["A", "B"]
    assert histories(load_dataset(tmp_path / "a")[0]) == HISTORIES
    with pytest.raises(TypeError, match="a DataFrame and items a NoneType; expected two data frames, or two files"):
        tslrec_min.prepare(frame, tmp_path / "b")


def test_frames_of_pandas_with_dates_and_gaps(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    users, items, _, times = zip(*ROWS, strict=True)
    frame = pandas.DataFrame({"user_id": pandas.Categorical(users), "item_id": items,
                              "timestamp": pandas.to_datetime(list(times), unit="s")})
    titles = pandas.DataFrame({"item_id": ["a", "b"], "title": ["A", None]})
    prepare_frames(frame, titles, tmp_path / "a", PrepareConfig(k_core=0))
    dataset, _ = load_dataset(tmp_path / "a")
    assert histories(dataset) == HISTORIES and dataset.titles == ["A", ""]
    assert dataset.timestamps is not None and dataset.timestamps[0] == 1400000020
    frame["timestamp"] = frame["timestamp"].dt.tz_localize("Europe/Paris")
    prepare_frames(frame, titles, tmp_path / "b", PrepareConfig(k_core=0))
    there = load_dataset(tmp_path / "b")[0].timestamps
    assert there is not None and there[0] == 1400000020 - 7200
    numbers = pandas.DataFrame({"user_id": [1, 1, None, 1], "item_id": [1, 2, 3, 4], "timestamp": [1, 2, 3, None]})
    titles = pandas.DataFrame({"item_id": [1, 2, 3, 4], "title": list("abcd")})
    summary = prepare_frames(numbers, titles, tmp_path / "c", PrepareConfig(k_core=0, on_bad_row="skip"))
    assert summary["bad_rows"]["interactions"] == {"user or item id is empty": {"rows": 1, "first_lines": [3]},
                                                   "time can't be read": {"rows": 1, "first_lines": [4]}}
    assert histories(load_dataset(tmp_path / "c")[0]) == {"1": ["1", "2"]}


class NullableFrame(PlainFrame):
    """A frame whose integers with gaps are floats to NumPy alone, as those of pandas and polars are."""

    def __getitem__(self, name: str) -> Any:
        column = super().__getitem__(name)
        values = column.to_numpy().tolist()
        if None in values:
            column.dtype, column.to_list = "Int64", lambda: values
            column.to_numpy = lambda: np.array(values, np.float64)
        return column


@pytest.mark.parametrize("kind", ["plain", "pandas", "polars"])
def test_large_whole_numbers_beside_gaps_stay_what_they_are(tmp_path: Path, kind: str) -> None:
    module = None if kind == "plain" else pytest.importorskip(kind)
    users = [2**53, 2**53 + 1, None]  # as floats the first two are one
    make = NullableFrame if module is None else module.DataFrame
    column = module.Series(users, dtype="Int64") if module is not None and kind == "pandas" else users
    frame = make({"user_id": column, "item_id": ["a", "b", "c"], "timestamp": [1, 2, 3]})
    titles = make({"item_id": ["a", "b"], "title": ["A", "B"]})
    prepare_frames(frame, titles, tmp_path / "d", PrepareConfig(k_core=0, on_bad_row="skip"))
    assert histories(load_dataset(tmp_path / "d")[0]) == {str(2**53): ["a"], str(2**53 + 1): ["b"]}
