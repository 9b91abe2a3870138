"""Public data sets and general formats, written as they are published, and what `prepare` makes of them."""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tslrec_min
from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.data.prepare import prepare, prepare_frames
from tslrec_min.errors import TslrecError
from tslrec_min.storage.existing import Existing

ROWS = [("u1", "b", 5.0, 1400000030), ("u2", "a", 3.0, 1400000010), ("u1", "a", 4.0, 1400000020),
        ("u2", "b", 4.0, 1400000040)]
"""User, item, rating, time."""
TITLES = {"a": "Amélie", "b": "Heat & Dust"}
HISTORIES = {"u1": ["a", "b"], "u2": ["a", "b"]}


def packed(path: Path, text: str) -> Path:
    """Write text, by gzip where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def lines(rows: list[dict[str, Any]], form: Callable[[Any], str] = json.dumps) -> str:
    return "".join(form(row) + "\n" for row in rows)


def prepared(source: Path, out: Path, **options: Any) -> Dataset:
    items = options.pop("items", None)
    prepare(source, out, PrepareConfig(k_core=0, **options), items=items)
    return load_dataset(out)[0]


def histories(dataset: Dataset) -> dict[str, list[str]]:
    return {user_id: [dataset.item_ids[item - 1] for item in dataset.histories.of(user)]
            for user, user_id in enumerate(dataset.user_ids)}


def check(dataset: Dataset, titles: dict[str, str] = TITLES) -> None:
    assert histories(dataset) == HISTORIES
    assert dict(zip(dataset.item_ids, dataset.titles, strict=True)) == titles


def as_python2(row: Any) -> str:
    """Write a dictionary as Python 2 did: all texts with a u."""
    if isinstance(row, dict):
        return "{" + ", ".join(f"{as_python2(key)}: {as_python2(value)}" for key, value in row.items()) + "}"
    if isinstance(row, list):
        return f"[{', '.join(map(as_python2, row))}]"
    return f"u{row!r}" if isinstance(row, str) else repr(row)


def amazon_2014(folder: Path) -> Path:
    reviews = [{"reviewerID": user, "asin": item, "reviewerName": "x", "helpful": [0, 0], "reviewText": 'so "so"',
                "overall": rating, "summary": "s", "unixReviewTime": time, "reviewTime": "05 13, 2014"}
               for user, item, rating, time in ROWS]
    meta = [{"asin": item, "title": title, "price": 3.5, "related": {"also_bought": ["x", "y"]},
             "categories": [["Beauty", "Hair Care"]]} for item, title in TITLES.items()]
    packed(folder / "meta_Beauty.json.gz", lines(meta, repr))
    return packed(folder / "reviews_Beauty_5.json.gz", lines(reviews))


def amazon_2018(folder: Path) -> Path:
    reviews = [{"overall": rating, "verified": True, "reviewTime": "05 13, 2014", "reviewerID": user, "asin": item,
                "style": {"Size:": " L"}, "unixReviewTime": time} for user, item, rating, time in ROWS]
    meta = [{"category": ["Beauty", "Hair &amp; Skin"], "title": title.replace("&", "&amp;"), "brand": "B", "rank": [],
             "asin": item} for item, title in TITLES.items()]
    packed(folder / "meta_All_Beauty.json.gz", lines(meta))
    return packed(folder / "All_Beauty.json.gz", lines(reviews))


def amazon_2023(folder: Path) -> Path:
    reviews = [{"rating": rating, "title": "Good", "text": "t", "images": [], "asin": f"{item}-red",
                "parent_asin": item, "user_id": user, "timestamp": time * 1000 + 7, "helpful_vote": 0,
                "verified_purchase": True}
               for user, item, rating, time in ROWS]
    meta = [{"main_category": "All Beauty", "title": title, "average_rating": 4.8, "features": [], "price": None,
             "categories": ["Beauty", "Hair"], "details": {"Brand": "B"}, "parent_asin": item}
            for item, title in TITLES.items()]
    packed(folder / "meta_All_Beauty.jsonl.gz", lines(meta))
    return packed(folder / "All_Beauty.jsonl.gz", lines(reviews))


def yelp(folder: Path) -> Path:
    dates = {1400000000 + seconds: f"2014-05-13 16:53:{20 + seconds}" for seconds in (10, 20, 30)} | {
        1400000040: "2014-05-13 16:54:00"}
    reviews = [{"review_id": f"r{time}", "user_id": user, "business_id": item, "stars": rating, "useful": 0, "funny": 0,
                "cool": 0, "text": "t\nt", "date": dates[time]} for user, item, rating, time in ROWS]
    meta = [{"business_id": item, "name": title, "city": "Tucson", "stars": 4.0,
             "categories": "Food, Bars", "hours": None} for item, title in TITLES.items()]
    packed(folder / "yelp_academic_dataset_business.json", lines(meta))
    return packed(folder / "yelp_academic_dataset_review.json", lines(reviews))


def steam(folder: Path) -> Path:
    reviews = [{"username": user, "hours": rating, "products": 41, "product_id": item, "page_order": 0,
                "date": f"2014-05-{time - 1400000000:02}" if time < 1400000040 else "2014-06-09", "text": "it's",
                "early_access": False, "page": 1} for user, item, rating, time in ROWS]
    games = [{"genres": ["Action"], "app_name": title, "title": "other", "reviews_url": "http://x", "id": item}
             for item, title in TITLES.items()]
    packed(folder / "steam_games.json.gz", lines(games, as_python2))
    return packed(folder / "steam_reviews.json.gz", lines(reviews, as_python2))


def australian(folder: Path) -> Path:
    users = [{"user_id": user, "user_url": "http://x", "reviews": [
        {"funny": "", "posted": f"Posted May {time - 1400000000 - 9}, 2014.", "last_edited": "", "item_id": item,
         "helpful": "No ratings yet", "recommend": rating > 3, "review": "r"}
        for of, item, rating, time in ROWS if of == user]} for user in HISTORIES]
    owned = [{"user_id": user, "items_count": 2, "steam_id": user, "user_url": "http://x", "items": [
        {"item_id": item, "item_name": TITLES[item], "playtime_forever": 6, "playtime_2weeks": 0} for item in items]}
        for user, items in HISTORIES.items()]
    packed(folder / "australian_users_items.json.gz", lines(owned, repr))
    return packed(folder / "australian_user_reviews.json.gz", lines(users, repr))


@pytest.mark.parametrize(("write", "format"), [
    (amazon_2014, "amazon"), (amazon_2018, "amazon"), (amazon_2023, "amazon"), (yelp, "yelp"), (steam, "steam"),
    (australian, "steam")])
def test_public_review_data(tmp_path: Path, write: Callable[[Path], Path], format: str) -> None:
    file = write(tmp_path / "raw")
    check(prepared(file, tmp_path / "a"))
    check(prepared(file.parent, tmp_path / "b"))  # found in its folder
    record = json.loads((tmp_path / "a" / "config.json").read_text())
    assert record["config"]["format"] == format
    plain = packed(tmp_path / "plain" / file.name.removesuffix(".gz"), lines([]))
    plain.write_bytes(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
    titles = next(other for other in file.parent.iterdir() if other != file)
    check(prepared(plain, tmp_path / "c", items=titles, format=format))
    if write is not australian:  # which has recommendations, not ratings
        good = prepared(file, tmp_path / "d", min_rating=4)
        assert histories(good) == {"u1": ["a", "b"], "u2": ["b"]}


def test_times_of_public_data_are_seconds(tmp_path: Path) -> None:
    for number, write in enumerate((amazon_2014, amazon_2023, yelp)):
        dataset = prepared(write(tmp_path / f"raw{number}"), tmp_path / str(number))
        assert dataset.timestamps is not None
        assert dataset.timestamps.astype(int).tolist() == [1400000020, 1400000030, 1400000010, 1400000040]
    for number, write in enumerate((steam, australian)):
        dataset = prepared(write(tmp_path / f"steam{number}"), tmp_path / f"s{number}", from_time="2014-05-01",
                           until_time="2015-01-01")
        assert len(dataset.histories.items) == 4


def test_owned_games_are_in_the_order_of_their_list(tmp_path: Path) -> None:
    australian(tmp_path / "raw")
    dataset = prepared(tmp_path / "raw" / "australian_users_items.json.gz", tmp_path / "d")
    check(dataset)
    assert dataset.timestamps is None
    with pytest.raises(TslrecError, match="--split temporal needs a time"):
        prepared(tmp_path / "raw" / "australian_users_items.json.gz", tmp_path / "e", split="temporal")


def test_lists_that_are_none_are_bad_rows(tmp_path: Path) -> None:
    file = australian(tmp_path / "raw")
    text = gzip.decompress(file.read_bytes()).decode()
    packed(file, text + "{'user_id': 'u3'}\n{'user_id': 'u4', 'reviews': []}\n{'user_id': 'u5', 'reviews': ['a']}\n")
    with pytest.raises(TslrecError, match="line 3: expected a list of JSON objects as 'reviews'; got None"):
        prepared(file, tmp_path / "a")
    check(prepared(file, tmp_path / "b", on_bad_row="skip"))
    assert json.loads((tmp_path / "b" / "dataset.json").read_text())["bad_rows"]["interactions"] == {
        "not a JSON object": {"rows": 2, "first_lines": [3, 5]}}


def test_reviews_without_a_year_are_bad_rows(tmp_path: Path) -> None:
    file = australian(tmp_path / "raw")
    text = gzip.decompress(file.read_bytes()).decode().replace("May 21, 2014.", "June 20.")
    packed(file, text)
    with pytest.raises(TslrecError, match="line 1: time 'Posted June 20.' is neither a number nor an ISO date"):
        prepared(file, tmp_path / "a")
    assert histories(prepared(file, tmp_path / "b", on_bad_row="skip")) == {"u1": ["a"], "u2": ["a", "b"]}


def test_ratings_alone_of_amazon_2023(tmp_path: Path) -> None:
    amazon_2023(tmp_path)
    text = "".join(f"{user},{item},{rating},{time}123\n" for user, item, rating, time in ROWS)
    file = packed(tmp_path / "All_Beauty.csv.gz", "user_id,parent_asin,rating,timestamp\n" + text)
    dataset = prepared(file, tmp_path / "d")
    check(dataset)
    assert dataset.timestamps is not None and dataset.timestamps[0] == 1400000020.123


def test_another_key_and_further_fields_of_amazon(tmp_path: Path) -> None:
    file = amazon_2023(tmp_path / "raw")
    other = prepared(file, tmp_path / "a", item_column="asin", items=packed(
        tmp_path / "titles.csv", "asin,title\na-red,A\nb-red,B\n"))
    assert other.item_ids == ["a-red", "b-red"]
    fields = prepared(file, tmp_path / "b", item_fields="categories,details,price").fields
    assert fields == {"categories": ["Beauty, Hair"] * 2, "details": ["Brand: B"] * 2, "price": ["", ""]}
    nested = prepared(amazon_2014(tmp_path / "2014"), tmp_path / "c", item_fields="categories").fields
    assert nested == {"categories": ["Beauty, Hair Care"] * 2}
    with pytest.raises(TslrecError, match="no line of .*meta_All_Beauty.jsonl.gz has a key for --item-fields categry"):
        prepared(file, tmp_path / "d", item_fields="categry,price")


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


@pytest.mark.parametrize("line", ["[" * 200_000, "{" * 100_000, "{'a': " + "-" * 100_000 + "1}", "null",
                                  "{'a': __import__('os')}", "{'asin': 'a', 'title': '" + "x" * (1 << 20) + "'}",
                                  "{'asin': 'a'", "{1: 2}}", "{'a': " + "(" * 5000 + ")" * 5000 + "}"])
def test_hostile_lines_are_bad_rows(tmp_path: Path, line: str) -> None:
    file = amazon_2014(tmp_path / "raw")
    meta = tmp_path / "raw" / "meta_Beauty.json.gz"
    packed(meta, gzip.decompress(meta.read_bytes()).decode() + line + "\n")
    with pytest.raises(TslrecError, match="meta_Beauty.json.gz, line 3"):
        prepared(file, tmp_path / "a")
    check(prepared(file, tmp_path / "b", on_bad_row="skip"))
    bad = json.loads((tmp_path / "b" / "dataset.json").read_text())["bad_rows"]
    assert bad == {"interactions": {}, "items": {"not a JSON object": {"rows": 1, "first_lines": [3]}}}


def movielens(name: str) -> dict[str, bytes]:
    """Return the members of an archive of MovieLens; ids are a and b, which no reader minds."""
    if name == "ml-100k":
        ratings = "".join(f"{user}\t{item}\t{rating:.0f}\t{time}\n" for user, item, rating, time in ROWS)
        movies = "".join(f"{item}|{title}|01-Jan-1995||http://x|{'|'.join('0' * 18)}|1\n"
                         for item, title in TITLES.items())
        return {"ml-100k/u.data": ratings.encode(), "ml-100k/u.item": movies.encode("latin-1"),
                "ml-100k/u.user": b"1|24|M|technician|85711\n", "ml-100k/u1.base": b""}
    if name in ("ml-1m", "ml-10m"):
        ratings = "".join(f"{user}::{item}::{rating:g}::{time}\n" for user, item, rating, time in ROWS)
        movies = "".join(f"{item}::{title}::Drama|Crime\n" for item, title in TITLES.items())
        folder = "ml-1m" if name == "ml-1m" else "ml-10M100K"
        return {f"{folder}/ratings.dat": ratings.encode(), f"{folder}/README": b"r",
                f"{folder}/movies.dat": movies.encode("latin-1" if name == "ml-1m" else "utf-8")}
    ratings = "userId,movieId,rating,timestamp\r\n" + "".join(
        f"{user},{item},{rating},{time}\r\n" for user, item, rating, time in ROWS)
    movies = "movieId,title,genres\r\n" + "".join(f'{item},"{title}",Drama|Crime\r\n' for item, title in TITLES.items())
    return {f"{name}/ratings.csv": ratings.encode(), f"{name}/movies.csv": movies.encode(), f"{name}/links.csv": b"x\n"}


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


def test_hostile_archives(tmp_path: Path) -> None:
    good = movielens("ml-1m")
    with zipfile.ZipFile(tmp_path / "up.zip", "w") as archive:
        archive.writestr("../../evil.txt", b"x")
        archive.writestr("../ratings.dat", good["ml-1m/ratings.dat"])
        archive.writestr("../movies.dat", good["ml-1m/movies.dat"])
    before = sorted(tmp_path.parent.rglob("*"))
    check(prepared(tmp_path / "up.zip", tmp_path / "a"))  # read where it is, so its names lead nowhere
    made = {path for path in sorted(tmp_path.parent.rglob("*")) if path not in before}
    assert all(path.is_relative_to(tmp_path / "a") for path in made)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-1m/ratings.dat", b"u::a::1::1\n" * 8_000_000)
        archive.writestr("ml-1m/movies.dat", good["ml-1m/movies.dat"])
    with pytest.raises(TslrecError, match="expands to more than 200 times its size"):
        prepared(tmp_path / "bomb.zip", tmp_path / "b")
    (tmp_path / "no.zip").write_bytes(b"PK no archive")
    with pytest.raises(TslrecError, match="can't be read as a zip archive"):
        prepared(tmp_path / "no.zip", tmp_path / "c")
    content = bytearray((tmp_path / "up.zip").read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for member in (b"../ratings.dat", b"../movies.dat"):
            start = content.rindex(signature, 0, content.index(member) if flags == 6 else content.rindex(member))
            content[start + flags] |= 1  # says that it is encrypted
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(TslrecError, match="ratings.dat can't be decompressed: .*encrypted.* unpack it yourself"):
        prepared(tmp_path / "locked.zip", tmp_path / "e")
    content = (tmp_path / "up.zip").read_bytes()
    place = content.rindex(b"movies.dat")
    (tmp_path / "renamed.zip").write_bytes(content[:place] + b"m0vies.dat" + content[place + 10:])
    with pytest.raises(TslrecError, match="can't be read as a zip archive: .* differ"):
        prepared(tmp_path / "renamed.zip", tmp_path / "f", missing_titles="blank")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("x.txt", b"x")
    with pytest.raises(TslrecError, match="no archive of MovieLens"):
        prepared(tmp_path / "other.zip", tmp_path / "d")


def test_damaged_compression_is_named(tmp_path: Path) -> None:
    file = amazon_2023(tmp_path / "raw")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(TslrecError, match="All_Beauty.jsonl.gz can't be decompressed"):
        prepared(file, tmp_path / "a")
    file.write_bytes(b"plain")
    with pytest.raises(TslrecError, match="All_Beauty.jsonl.gz can't be decompressed"):
        prepared(file, tmp_path / "b")


NAMES = {"user_column": "who", "item_column": "what", "time_column": "when", "rating_column": "stars",
         "title_column": "label"}


def general_rows() -> list[dict[str, Any]]:
    return [{"who": user, "what": item, "stars": rating, "when": time} for user, item, rating, time in ROWS]


def test_json_lines_with_named_keys(tmp_path: Path) -> None:
    packed(tmp_path / "raw" / "items.jsonl", lines([{"what": item, "label": title} for item, title in TITLES.items()]))
    file = packed(tmp_path / "raw" / "interactions.jsonl.gz", lines(general_rows()))
    check(prepared(file, tmp_path / "a", **NAMES))
    assert histories(prepared(tmp_path / "raw", tmp_path / "b", min_rating=4, **NAMES)) == {
        "u1": ["a", "b"], "u2": ["b"]}
    with pytest.raises(TslrecError, match="the first line of .* has no key for --user-column user_id, --item-column "
                       "item_id, --time-column timestamp; its keys are who, .* --item-column item_id, --title-column"):
        prepared(file, tmp_path / "c")


def test_json_ids_that_are_numbers_join_those_of_other_files(tmp_path: Path) -> None:
    rows = [{"user_id": 1, "item_id": 7, "timestamp": 1.5}, {"user_id": 1, "item_id": "8 ", "timestamp": "2"},
            {"user_id": 1.0, "item_id": 9.0, "timestamp": "1970-01-01T00:00:03"}]
    file = packed(tmp_path / "r.jsonl", lines(rows))
    titles = packed(tmp_path / "t.csv", "item_id,title\n7,A\n8,B\n9,C\n")
    assert histories(prepared(file, tmp_path / "d", items=titles)) == {"1": ["7", "8", "9"]}
    for number, (value, message) in enumerate([(None, "is empty"), (True, "neither text nor"), ("a\tb", "a tab"),
                                               ([1], "neither text nor"), ("\ud800", "half of a pair")]):
        packed(file, lines([*rows, {"user_id": 1, "item_id": value, "timestamp": 4}]))
        with pytest.raises(TslrecError, match=f"line 4: .*{message}"):
            prepared(file, tmp_path / f"e{number}", items=titles)
        assert histories(prepared(file, tmp_path / f"f{number}", items=titles, on_bad_row="skip")) == {
            "1": ["7", "8", "9"]}


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


def test_milliseconds(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp\n" + "".join(f"{row[0]},{row[1]},{row[3]}500\n" for row in ROWS)
    file, titles = packed(tmp_path / "r.csv", text), packed(tmp_path / "t.csv", "item_id,title\na,A\nb,B\n")
    dataset = prepared(file, tmp_path / "d", items=titles, time_unit="ms", from_time="1400000020.5")
    assert dataset.timestamps is not None
    assert dataset.timestamps.tolist() == [1400000020.5, 1400000030.5, 1400000040.5]


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
