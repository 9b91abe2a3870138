"""Reading in chunks: the fast path is the slow one's equal, bad rows are named or counted, whatever the block."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import examine, prepare
from tslrec_min.data.raw import ascii_columns
from tslrec_min.data.raw import text as files
from tslrec_min.data.raw.ascii_columns import CodeCache, cut
from tslrec_min.data.raw.discover import find_source
from tslrec_min.data.raw.interactions import Codes, Collector, RawInteractions
from tslrec_min.data.raw.readers import read_interactions
from tslrec_min.data.raw.rows import BadRows, Chunk
from tslrec_min.data.raw.tables import Table, simple_chunk
from tslrec_min.data.raw.text import Block, RawFile, text_blocks
from tslrec_min.data.raw.values import parse_time
from tslrec_min.errors import TslrecError

CELLS = st.text(st.sampled_from("ab1:.,;|\t \u00a0\x1c\x85é'"), max_size=4) | st.text(
    st.sampled_from("ab1"), max_size=40)
ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=8)
LAYOUTS = [(",", True, True), (";", True, True), ("\t", False, True), ("\t", False, False), ("::", False, False),
           ("|", False, False)]


def in_words(raw: RawInteractions) -> list[tuple[Any, ...]]:
    times = [None] * len(raw.users) if raw.times is None else raw.times.tolist()
    return [(raw.user_ids[user], raw.item_ids[item], time)
            for user, item, time in zip(raw.users, raw.items, times, strict=True)]


@given(ROWS, st.sampled_from(LAYOUTS), st.integers(2, 4), st.booleans())
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
    assert bad.counts == {} and {role: list(values) for role, values in fast.columns.items()} == columns
    assert list(fast.lines) == [line for chunk in slow for line in chunk.lines]


@given(st.lists(st.tuples(st.sampled_from(["u1", "u2", "", "ü"]), st.sampled_from(["a", "b", 'q"q'])), min_size=1,
                max_size=30), st.integers(1, 40), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_depends_on_the_size_of_blocks(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]],
                                               size: int, end: str) -> None:
    text = end.join(["user_id,item_id,timestamp", "", *(
        f'{user},"{item.replace(chr(34), chr(34) * 2)}",{time}' if '"' in item else f"{user},{item},{time}"
        for time, (user, item) in enumerate(pairs))]) + end
    file = tmp_path_factory.mktemp("r") / "r.csv"
    file.write_bytes(text.encode())
    config = PrepareConfig(on_bad_row="skip")
    found = []
    for characters in (files.BLOCK_CHARACTERS, size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "BLOCK_CHARACTERS", characters)
            raw = read_interactions(find_source(file, None, config), config)
        found.append((in_words(raw), raw.bad_rows))
    assert found[0] == found[1]
    assert found[0][0] == [(user, item, time) for time, (user, item) in enumerate(pairs) if user]
    lines = [line for line, (user, _) in enumerate(pairs, 3) if not user]
    assert found[0][1] == ({"user or item id is empty": {"rows": len(lines), "first_lines": lines[:5]}}
                           if lines else {})


BAD = ["u,a", "u,a,1,2", ",a,3", "u,,4", "u,a,noon", "u,a,9223372036854775808", "u,a,nan"]


@given(st.lists(st.sampled_from(["u,a,1", "v,b,2", "w,a,3.5", "u,b,1970-01-01", *BAD]), min_size=1, max_size=25))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_bad_rows_are_left_out_and_counted(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    file = tmp_path_factory.mktemp("r") / "r.csv"
    file.write_text("user_id,item_id,timestamp\n" + "".join(f"{row}\n" for row in rows))
    config = PrepareConfig(on_bad_row="skip")
    raw = read_interactions(find_source(file, None, config), config)
    good = [row.split(",") for row in rows if row not in BAD]
    assert in_words(raw) == [(user, item, parse_time(time)) for user, item, time in good]
    assert sum(found["rows"] for found in raw.bad_rows.values()) == sum(row in BAD for row in rows)
    expected = [line for line, row in enumerate(rows, 2) if row in ("u,a", "u,a,1,2")]
    assert raw.bad_rows.get("wrong number of fields", {"first_lines": []})["first_lines"] == expected[:5]
    if first := next((line for line, row in enumerate(rows, 2) if row in BAD), None):
        strict = PrepareConfig()
        with pytest.raises(TslrecError, match=f"r.csv, line {first}: .*--on-bad-row skip"):
            read_interactions(find_source(file, None, strict), strict)


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
    file.write_text("user_id,item_id,timestamp\nu,a,1\n" + "x" * 2000)
    with pytest.raises(TslrecError, match="a line after line .* is longer than 1,000 characters"):
        list(text_blocks(RawFile(file), "utf-8"))


@given(st.lists(st.one_of(st.integers(-2**40, 2**40), st.floats(-1e9, 1e9), st.sampled_from(["1970-01-02", "7", " 8"])),
                min_size=1, max_size=20), st.booleans())
@settings(deadline=None)
def test_times_stay_what_they_are(values: list[Any], as_text: bool) -> None:
    values = [str(value) for value in values] if as_text else values
    collector = Collector("x", PrepareConfig(), timed=True)
    for start in range(0, len(values), 7):
        part = values[start:start + 7]
        collector.add(Chunk(range(start, start + len(part)), {"user": ["u"] * len(part), "item": ["i"] * len(part),
                                                              "time": part}, is_text=as_text))
    times = collector.finish().times
    expected = np.array([parse_time(value) for value in values])
    assert times is not None and times.dtype == expected.dtype and times.tolist() == expected.tolist()


IDS = st.lists(st.lists(st.text(st.sampled_from("ab1-"), min_size=1, max_size=40) | st.text(
    st.sampled_from("01"), min_size=8, max_size=16), max_size=30), min_size=1, max_size=6)


@given(IDS, st.booleans())
@settings(deadline=None)
def test_codes_of_cells_are_those_of_the_dictionary(columns: list[list[str]], crowded: bool) -> None:
    codes, alone = Codes(), Codes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ascii_columns, "_SLOT_BITS", 1 if crowded else 10)
        cache = CodeCache(codes)
        for column in columns:
            fields = cut("".join(f"{name},\n" for name in column), ",", 2)
            assert fields is not None and list(fields[0]) == column
            assert cache.look_up(fields[0]).tolist() == [alone[name] for name in column]
            assert cache.look_up(fields[0][1:3]).tolist() == [alone[name] for name in column[1:3]]
    assert list(codes.items()) == list(alone.items())


def test_a_column_with_an_id_that_is_none_changes_nothing() -> None:
    codes = Codes()
    cache = CodeCache(codes)
    fields = cut("a,\n\0,\n,\nb,\n", ",", 2)
    assert fields is not None
    for wrong in (fields[0], fields[0][2:3]):
        with pytest.raises(ValueError):
            cache.look_up(wrong)
    good = cut("b,\na,\nc,\n", ",", 2)
    assert good is not None and cache.look_up(good[0]).tolist() == [codes["b"], codes["a"], codes["c"]]
    empty = cut("b,\n,\n", ",", 2)
    assert empty is not None
    with pytest.raises(ValueError):
        cache.look_up(empty[0])


@given(st.lists(st.integers(0, 10**18 - 1).map(str) | st.sampled_from(["007", "0"]), max_size=20),
       st.sampled_from(["", "-1", "1_0", "+3", "1.5", "9" * 19, "x", "/", ":"]), st.booleans())
def test_integers_of_cells(numbers: list[str], other: str, mixed: bool) -> None:
    column = [*numbers, other] if mixed else numbers
    fields = cut("".join(f"{number};\n" for number in column), ";", 2)
    assert fields is not None
    found = fields[0].integers()
    assert found is None if mixed else found is not None and found.tolist() == [int(number) for number in numbers]


def write_plain(folder: Path, packed: bool = False) -> Path:
    rows = [f"u{row % 7},i{row % 5},{row % 4},{1_000_000_000 + 1000 * row}\n" for row in range(200)]
    text = "user_id,item_id,rating,timestamp\n" + "".join(rows)
    folder.mkdir(parents=True)
    name = "interactions.csv.gz" if packed else "interactions.csv"
    (folder / name).write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    (folder / "items.tsv").write_text("item_id\ttitle\n" + "".join(f"i{item}\tTitle {item}\n" for item in range(5)))
    return folder


def test_compressed_or_not_is_the_same_data(tmp_path: Path) -> None:
    plain, packed = (prepare(write_plain(tmp_path / f"raw{kind}", kind), tmp_path / f"d{kind}", PrepareConfig())
                     for kind in (False, True))
    assert plain == packed and plain["interactions"] == 200


def test_time_window(tmp_path: Path) -> None:
    raw = write_plain(tmp_path / "raw")
    whole = examine(raw, PrepareConfig())
    assert (whole["first_time"], whole["last_time"]) == (1_000_000_000, 1_000_199_000)
    window = PrepareConfig(from_time="1000010000", until_time="2001-09-09T02:00:00")  # 1,000,000,800
    with pytest.raises(TslrecError, match="exchange --from-time and --until-time"):
        examine(raw, window)
    found = examine(raw, replace(window, until_time="2001-09-11"))  # 1,000,166,400
    assert (found["first_time"], found["last_time"]) == (1_000_010_000, 1_000_166_000)
    assert found["outside_time_window"] == 200 - 157 and found["interactions"] == 157
    assert found["raw_interactions"] == 200 and found["below_k_core"] == 0
    both = examine(raw, replace(window, until_time="", min_rating=1))
    assert (both["below_min_rating"], both["outside_time_window"], both["interactions"]) == (50, 7, 143)
    for wrong in ("yesterday", "nan", "1e400"):
        with pytest.raises(TslrecError, match="--from-time: time"):
            examine(raw, PrepareConfig(from_time=wrong))
    with pytest.raises(TslrecError, match="need a column of times"):
        examine(raw, PrepareConfig(time_column="", from_time="1"))


def test_examining_writes_nothing_and_says_what_preparing_does(tmp_path: Path) -> None:
    raw = write_plain(tmp_path / "raw")
    before = sorted(tmp_path.rglob("*"))
    config = PrepareConfig(min_rating=1, cold_items=0.2, split="temporal", validation_share=0.2, test_share=0.2)
    found = examine(raw, config)
    assert sorted(tmp_path.rglob("*")) == before
    assert found == prepare(raw, tmp_path / "d", config) == json.loads((tmp_path / "d" / "dataset.json").read_text())
    lengths = np.diff(load_dataset(tmp_path / "d")[0].histories.indptr)
    assert found["median_length"] == np.median(lengths) and found["mean_length"] == pytest.approx(lengths.mean())


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


def test_memory_does_not_grow_with_text(tmp_path: Path) -> None:
    """A row of reviews takes 16 bytes, however long its text is."""
    import tracemalloc

    rows = "".join(json.dumps({"user_id": f"u{row % 50}", "item_id": f"i{row % 40}", "timestamp": row,
                               "text": "x" * 5000}) + "\n" for row in range(8000))  # 40 MB
    (tmp_path / "interactions.jsonl.gz").write_bytes(gzip.compress(rows.encode(), 1))
    config = PrepareConfig()
    source = find_source(tmp_path, None, config)
    tracemalloc.start()
    raw = read_interactions(source, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(raw.users) == 8000 and peak < 12 << 20
