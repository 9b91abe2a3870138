"""Raw formats in, the same interactions out; bad input gives one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.raw.discover import find_source
from tslrec_min.data.raw.interactions import RawInteractions
from tslrec_min.data.raw.readers import read_interactions, read_items
from tslrec_min.data.raw.text import RawFile
from tslrec_min.errors import TslrecError

EXPECTED = [("u1", "b", 30), ("u2", "a", 10), ("u1", "a", 20)]


def read(path: Path, config: PrepareConfig = PrepareConfig(), items: Path | None = None):  # noqa: B008 (frozen)
    source = find_source(path, items, config)
    raw = read_interactions(source, config)
    titles = read_items(source.items, config).titles if source.items else {}
    return raw, titles


def pairs(raw: RawInteractions) -> list[tuple[str, str]]:
    return [(raw.user_ids[user], raw.item_ids[item]) for user, item in zip(raw.users, raw.items, strict=True)]


def times(raw: RawInteractions) -> list[float]:
    assert raw.times is not None
    return raw.times.tolist()


def write_recbole(folder: Path) -> Path:
    (folder / "x.inter").write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
                                    "u1\tb\t5\t30\nu2\ta\t3\t10\nu1\ta\t4\t20\n")
    (folder / "x.item").write_text("item_id:token\tmovie_title:token_seq\tyear:token\n"
                                   "a\tAm\u00e9lie\t2001\nb\tHeat\t1995\n")
    return folder


def write_csv(folder: Path) -> Path:
    (folder / "interactions.csv").write_text("user_id,item_id,rating,timestamp\nu1,b,5,30\nu2,a,3,10\nu1,a,4,20\n")
    (folder / "items.csv").write_text('item_id,title\na,"Amélie"\nb,"Heat"\n')
    return folder


def write_movielens(folder: Path) -> Path:
    (folder / "ratings.dat").write_text("u1::b::5::30\nu2::a::3::10\nu1::a::4::20\n")
    (folder / "movies.dat").write_bytes("a::Amélie::Comedy\nb::Heat::Crime|Drama\n".encode("latin-1"))
    return folder


@pytest.mark.parametrize("write", [write_recbole, write_csv, write_movielens])
def test_formats_agree(tmp_path: Path, write) -> None:
    raw, titles = read(write(tmp_path))
    assert [(*ids, time) for ids, time in zip(pairs(raw), times(raw), strict=True)] == EXPECTED
    assert titles == {"a": "Amélie", "b": "Heat"}


@pytest.mark.parametrize("write", [write_recbole, write_csv, write_movielens])
def test_min_rating_and_renamed_columns_of_fixed_formats(tmp_path: Path, write) -> None:
    raw, _ = read(write(tmp_path), PrepareConfig(min_rating=4))
    assert pairs(raw) == [("u1", "b"), ("u1", "a")] and raw.below_min_rating == 1


def test_ids_of_interactions_and_items_keep_the_same_spaces(tmp_path: Path) -> None:
    (write_recbole(tmp_path) / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu \tb \t1\n")
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\nb \tSpaced\nb\tOther\n")
    raw, titles = read(tmp_path)
    assert pairs(raw) == [("u ", "b ")] and titles == {"b ": "Spaced", "b": "Other"}


def test_sequences_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("u1 b a b\n\nu2 a\n")
    (tmp_path / "items.tsv").write_text('item_id\ttitle\na\t6" pipe &amp; co\nb\t  Two \u2028 words \n')
    raw, titles = read(tmp_path)
    assert pairs(raw) == [("u1", "b"), ("u1", "a"), ("u1", "b"), ("u2", "a")]
    assert raw.times is None and titles == {"a": '6" pipe & co', "b": "Two words"}


def test_csv_columns_separators_quotes_dates(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text('\ufeffwho;what;when\nu1;b;1970-01-01T00:01:00\nu2;a;"2.5"\n', encoding="utf-8")
    (tmp_path / "i.csv").write_text('what, "label"\na, "Good, Bad"\nb,  x\n')
    config = PrepareConfig(user_column="who", item_column="what", time_column="when", title_column="label")
    raw, titles = read(tmp_path / "r.csv", config, tmp_path / "i.csv")
    assert times(raw) == [60.0, 2.5] and titles["a"] == "Good, Bad"


@pytest.mark.parametrize(("text", "message"), [
    ("user_id,item,timestamp\nu,i,1\n", "--item-column item_id.*its columns are user_id, item, timestamp"),
    ("user_id,item_id,timestamp\nu,i\n", "line 2: 2 fields; expected 3"),
    ("user_id,item_id,timestamp\nu,i,noon\n", "line 2: time 'noon'"),
    ("user_id,item_id,timestamp\nu,i,nan\n", "line 2: time 'nan'"),
    (f"user_id,item_id,timestamp\nu,i,{'9' * 5000}\n", "line 2: time '9{79}… does not fit into 64 bits"),
    ("user_id,item_id,timestamp\nu,,3\n", "line 2: the user or item id is empty"),
    ("", "is empty: it has no column"),
])
def test_bad_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(TslrecError, match=message):
        read(tmp_path / "r.csv")


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


def test_wrong_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("user_id,item_id,timestamp\nu,é,1\n".encode("latin-1"))
    with pytest.raises(TslrecError, match="--encoding"):
        read(tmp_path / "r.csv")
    raw, _ = read(tmp_path / "r.csv", PrepareConfig(encoding="latin-1"))
    assert pairs(raw) == [("u", "é")]
    (tmp_path / "r.csv").write_bytes("user_id,item_id,timestamp\nu,é,1\n".encode("utf-16-le"))
    with pytest.raises(TslrecError, match="is not utf-16 text .*name its encoding"):  # it has no byte order mark
        read(tmp_path / "r.csv", PrepareConfig(encoding="utf-16"))
    with pytest.raises(TslrecError, match="unknown --encoding"):
        read(write_movielens(tmp_path), PrepareConfig(encoding="klingon", format="movielens"))


@pytest.mark.parametrize("encoding", ["", "utf-8", "UTF8", "utf-8-sig"])
@pytest.mark.parametrize("text", ["user_id,item_id,timestamp\r\nu,é,1\r\n",
                                  '{"user_id": "u", "item_id": "é", "timestamp": 1}\n'])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, encoding: str, text: str) -> None:
    file = tmp_path / ("r.csv" if text.startswith("user") else "r.jsonl")
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert pairs(read(file, PrepareConfig(encoding=encoding))[0]) == [("u", "é")]


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
