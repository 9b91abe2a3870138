from __future__ import annotations

import json
from pathlib import Path

import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import examine, prepare
from tslrec_min.data.raw.discover import find_source
from tslrec_min.data.raw.text import RawFile
from tslrec_min.errors import TslrecError

from ..factories import write_plain
from .factories import (
    amazon_2014,
    check,
    lines,
    packed,
    prepared,
    read_items,
    write_csv,
    write_movielens,
    write_recbole,
)


def test_metadata_whose_first_item_has_no_title(tmp_path: Path) -> None:
    file = amazon_2014(tmp_path / "raw")
    items = [{"asin": "a", "price": 3.5}, {"asin": "b", "title": "B"}]
    packed(tmp_path / "raw" / "meta_Beauty.json.gz", lines(items, repr))
    check(prepared(file, tmp_path / "a"), {"a": "", "b": "B"})


def test_items_without_metadata(tmp_path: Path) -> None:
    file = amazon_2014(tmp_path / "raw")
    packed(tmp_path / "raw" / "meta_Beauty.json.gz", repr({"asin": "b", "title": "B"}) + "\n")
    with pytest.raises(TslrecError, match="1 items .* the first is 'a'.*--missing-titles blank"):
        prepared(file, tmp_path / "a")
    check(prepared(file, tmp_path / "b", missing_titles="blank"), {"a": "", "b": "B"})
    assert json.loads((tmp_path / "b" / "dataset.json").read_text())["items_without_row"] == 1
    (tmp_path / "raw" / "meta_Beauty.json.gz").unlink()
    with pytest.raises(TslrecError, match="no titles beside .*--items, or do without titles with --missing-titles"):
        prepared(file, tmp_path / "c")
    check(prepared(file, tmp_path / "c", missing_titles="blank"), {"a": "", "b": ""})
    assert json.loads((tmp_path / "c" / "dataset.json").read_text())["items_without_row"] == 2


@pytest.mark.parametrize(("write", "name", "expected"), [
    (write_recbole, "year", {"a": "2001", "b": "1995"}), (write_csv, "year", {"a": "2001", "b": "1995"}),
    (write_movielens, "genres", {"a": "Comedy", "b": "Crime|Drama"})])
def test_further_columns_of_items(tmp_path: Path, write, name: str, expected: dict[str, str]) -> None:
    write(tmp_path)
    if write is write_csv:
        (tmp_path / "items.csv").write_text('year,item_id,title\n2001,a,"Amélie"\n1995,b,"Heat"\n')
    source = find_source(tmp_path, None, PrepareConfig())
    assert read_items(source.items, PrepareConfig(item_fields=f" {name}")).fields == {name: expected}
    with pytest.raises(TslrecError, match=f"no column for --item-fields colour; its columns are .*{name}"):
        read_items(source.items, PrepareConfig(item_fields=f"{name},colour"))
    for wrong in ("year,", "year,year", "title", "item_id"):
        with pytest.raises(TslrecError, match="--item-fields"):
            read_items(source.items, PrepareConfig(item_fields=wrong))


def test_entities_and_white_space_of_items(tmp_path: Path) -> None:
    (tmp_path / "items.tsv").write_text("item_id\ttitle\tbrand\n"
                                        "a\tCr&egrave;me  &#9733;\tX\nb\tAT&T\tY &amp; Z\nc\tplain\t\n")
    raw = read_items(RawFile(tmp_path / "items.tsv"), PrepareConfig(item_fields="brand"))
    assert raw.titles == {"a": "Crème ★", "b": "AT&T", "c": "plain"} and raw.unescaped == {"a", "b"}
    assert raw.fields == {"brand": {"a": "X", "b": "Y & Z", "c": ""}}


def test_missing_files_and_titles(tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="does not exist"):
        find_source(tmp_path / "nothing", None, PrepareConfig())
    with pytest.raises(TslrecError, match="holds no .inter file"):
        find_source(tmp_path, None, PrepareConfig())
    (tmp_path / "items.csv").write_text("item_id,a,b\n1,2,3\n")
    with pytest.raises(TslrecError, match="--title-column"):
        read_items(RawFile(tmp_path / "items.csv"), PrepareConfig())
    (tmp_path / "items.csv").write_text("item_id,title\n1,x\n1,y\n")
    with pytest.raises(TslrecError, match="line 3: item '1' has a second title"):
        read_items(RawFile(tmp_path / "items.csv"), PrepareConfig())


def test_second_titles_are_skipped_and_counted(tmp_path: Path) -> None:
    raw = write_plain(tmp_path / "raw")
    with open(raw / "items.tsv", "a") as stream:
        stream.write("i1\tAnother\ni1\tTitle 1\nunused\tA\nunused\tB\n")
    with pytest.raises(TslrecError, match="items.tsv, line 7: item 'i1' has a second title 'Another'"):
        examine(raw, PrepareConfig())
    found = prepare(raw, tmp_path / "d", PrepareConfig(on_bad_row="skip"))
    assert found["bad_rows"] == {"interactions": {},
                                 "items": {"second title of an item": {"rows": 1, "first_lines": [7]}}}
    assert load_dataset(tmp_path / "d")[0].titles[1] == "Title 1"


@pytest.mark.parametrize("text", ["0x" + "f" * 5000, "[" * 400 + "]" * 400])
def test_item_texts_that_can_not_be_read_are_bad_rows(tmp_path: Path, text: str) -> None:
    file = amazon_2014(tmp_path / "raw")
    packed(tmp_path / "raw" / "meta_Beauty.json.gz",
           "{'asin': 'a', 'title': 'A'}\n" + f"{{'asin': 'b', 'title': {text}}}\n")
    with pytest.raises(TslrecError, match="line 2: "):
        prepared(file, tmp_path / "a")
    check(prepared(file, tmp_path / "b", on_bad_row="skip", missing_titles="blank"), {"a": "A", "b": ""})
