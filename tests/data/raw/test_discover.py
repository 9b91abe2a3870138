from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from .factories import ROWS, TITLES, check, movielens, packed, prepared


@pytest.mark.parametrize("name", ["ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-32m"])
def test_archives_of_movielens(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in movielens(name).items():
            archive.writestr(member, content)
    check(prepared(tmp_path / f"{name}.zip", tmp_path / "a"))
    with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    folder, = (tmp_path / "unpacked").iterdir()
    check(prepared(folder, tmp_path / "b"))
    assert json.loads((tmp_path / "b" / "config.json").read_text())["config"]["format"] == "movielens"
    field = "Western" if name == "ml-100k" else "genres"
    expected = ["1", "1"] if name == "ml-100k" else ["Drama|Crime"] * 2
    assert prepared(tmp_path / f"{name}.zip", tmp_path / "c", item_fields=field).fields == {field: expected}


def test_a_format_that_is_named_goes_before_names_and_headers(tmp_path: Path) -> None:
    def titles(name: str, header: str, between: str = ",") -> Path:
        return packed(tmp_path / name, f"{header}\n" + "".join(f"{between.join(row)}\n" for row in TITLES.items()))

    data = packed(tmp_path / "r.data", "".join(f"{row[1]}\t{row[0]}\t{row[2]}\t{row[3]}\n" for row in ROWS))
    check(prepared(data, tmp_path / "a", items=titles("t.csv", "item_id,title"), format="csv",
                   columns="item_id,user_id,rating,timestamp"))
    in_seconds = packed(tmp_path / "r.csv", "user_id,parent_asin,rating,timestamp\n" + "".join(
        f"{','.join(map(str, row))}\n" for row in ROWS))
    dataset = prepared(in_seconds, tmp_path / "b", items=titles("i.csv", "parent_asin,title"), format="csv",
                       item_column="parent_asin")
    check(dataset)
    assert dataset.timestamps is not None and dataset.timestamps[0] == 1400000020
    typed = packed(tmp_path / "r.txt", "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(
        f"{user}\t{item}\t{time}\n" for user, item, _, time in ROWS))
    items = titles("i.item", "item_id:token\ttitle:token_seq", "\t")
    check(prepared(typed, tmp_path / "c", items=items, format="recbole"))
