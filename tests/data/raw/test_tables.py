from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.prepare import examine
from tslrec_min.data.raw import text as files
from tslrec_min.data.raw.rows import BadRows
from tslrec_min.data.raw.tables import Table, simple_chunk
from tslrec_min.data.raw.text import Block, RawFile, text_blocks
from tslrec_min.errors import TslrecError

from .factories import ROWS, TITLES, amazon_2023, check, lines, packed, prepared, read, read_items, times

CELLS = st.text(st.sampled_from("ab1:.,;|\t \u00a0\x1c\x85é'"), max_size=4) | st.text(
    st.sampled_from("ab1"), max_size=40)
ROWS_OF_CELLS = st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=8)
LAYOUTS = [(",", True, True), (";", True, True), ("\t", False, True), ("\t", False, False), ("::", False, False),
           ("|", False, False)]


def test_ratings_alone_of_amazon_2023(tmp_path: Path) -> None:
    amazon_2023(tmp_path)
    text = "".join(f"{user},{item},{rating},{time}123\n" for user, item, rating, time in ROWS)
    file = packed(tmp_path / "All_Beauty.csv.gz", "user_id,parent_asin,rating,timestamp\n" + text)
    dataset = prepared(file, tmp_path / "d")
    check(dataset)
    assert dataset.timestamps is not None and dataset.timestamps[0] == 1400000020.123


def test_tables_without_a_header(tmp_path: Path) -> None:
    text = "".join(f"{item},{user},{rating},{time}\n" for user, item, rating, time in ROWS)
    file = packed(tmp_path / "Beauty.csv.gz", text)  # the ratings of Amazon 2018 are such
    titles = packed(tmp_path / "titles.jsonl", lines([{"item_id": item, "title": name}
                                                      for item, name in TITLES.items()]))
    columns = "item_id,user_id, rating,timestamp"
    check(prepared(file, tmp_path / "d", items=titles, columns=columns))
    with_header = packed(tmp_path / "items.csv", "item_id,title\n" + "".join(
        f"{item},{title}\n" for item, title in TITLES.items()))
    check(prepared(file, tmp_path / "e", items=with_header, columns=columns))


def test_csv_columns_separators_quotes_dates(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text('\ufeffwho;what;when\nu1;b;1970-01-01T00:01:00\nu2;a;"2.5"\n', encoding="utf-8")
    (tmp_path / "i.csv").write_text('what, "label"\na, "Good, Bad"\nb,  x\n')
    config = PrepareConfig(user_column="who", item_column="what", time_column="when", title_column="label")
    raw, titles = read(tmp_path / "r.csv", config, tmp_path / "i.csv")
    assert times(raw) == [60.0, 2.5] and titles["a"] == "Good, Bad"


@pytest.mark.parametrize(("name", "text"), [("x.csv", "a,b\n1,2\n"), ("x.jsonl", '{"a": 1, "b": 2}\n')])
def test_missing_columns_are_named_by_their_flags(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    def as_roles(*roles: str) -> list[tuple[dict[str, str], str]]:
        return [({f"{role}_column": role}, f"--{role}-column {role}") for role in roles]

    given = {"user_column": "a", "item_column": "b", "time_column": ""}
    for changed, flag in (({"min_rating": 4}, "--rating-column rating"), *as_roles("user", "item", "time")):
        with pytest.raises(TslrecError, match=f"no (column|key) for {flag}[ ,;]"):
            read(tmp_path / name, PrepareConfig(**given | changed))
    given = {"item_column": "a", "title_column": "b"}
    for changed, flag in (({"item_fields": "rating"}, "--item-fields rating"), *as_roles("item", "title")):
        with pytest.raises(TslrecError, match=f"no (column|key) for {flag}[ ,;]"):
            read_items(RawFile(tmp_path / name), PrepareConfig(**given | changed))


@given(ROWS_OF_CELLS, st.sampled_from(LAYOUTS), st.integers(2, 4), st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_simple_lines_are_split_as_row_by_row(rows: list[list[str]], layout: tuple[str, bool, bool], width: int,
                                              ends: bool) -> None:
    delimiter, quoted, stripped = layout
    names = tuple("wxyz"[:width])
    table = Table(RawFile(Path("x")), names, delimiter, quoted, stripped, "utf-8", 0)
    block = Block(3, "\n".join(delimiter.join(row) for row in rows) + "\n" * ends)
    places = {"user": 0, "item": width - 1}
    fast = simple_chunk(table, block, places)
    if fast is None:
        return
    bad = BadRows(skip=True)
    slow = list(table._row_by_row([block], places, bad))
    columns = {role: [value for chunk in slow for value in chunk.columns[role]] for role in places}
    if any(delimiter not in text and not text.strip(" ") for text in block.text.split("\n")[:-1]):
        return  # a blank line has no row, and no fast path either
    assert bad.reasons == {} and {role: list(values) for role, values in fast.columns.items()} == columns
    assert list(fast.lines) == [line for chunk in slow for line in chunk.lines]


def test_quotes_that_never_close_and_endless_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.csv"
    file.write_text('user_id,item_id,timestamp\nu,a,1\nu,"b,2\n' + "u,a,1\n" * 60_000)
    with pytest.raises(TslrecError, match="r.csv, line 3: field larger than field limit"):
        examine(file, PrepareConfig(missing_titles="blank"))
    for text, line in (('u,"a",1\nu,b,"2\nu,c,3\n', 3), ('u,a,1\nu,b,"2\nu,c,3', 3), ('u,"a\nb",1\n"\n', 4)):
        file.write_text(f"user_id,item_id,timestamp\n{text}")  # what follows the quote would be one field
        with pytest.raises(TslrecError, match=f"r.csv, line {line}: the file ends inside quotes"):
            examine(file, PrepareConfig(on_bad_row="skip", missing_titles="blank"))
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    monkeypatch.setattr(files, "BLOCK_CHARACTERS", 100)
    monkeypatch.setattr(files, "BLOCK_BYTES", 100)
    file.write_text("user_id,item_id,timestamp\nu,a,1\n" + "x" * 2000)
    with pytest.raises(TslrecError, match="a line after line .* is longer than 1,000 characters"):
        list(text_blocks(RawFile(file), "utf-8"))
