"""JSON Lines, and reviews as they are published: what `prepare` makes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tslrec_min.errors import TslrecError

from .factories import HISTORIES, ROWS, TITLES, amazon_2014, amazon_2023, check, histories, lines, packed, prepared

NAMES = {"user_column": "who", "item_column": "what", "time_column": "when", "rating_column": "stars",
         "title_column": "label"}


def as_python2(row: Any) -> str:
    """Write a dictionary as Python 2 did: all texts with a u."""
    if isinstance(row, dict):
        return "{" + ", ".join(f"{as_python2(key)}: {as_python2(value)}" for key, value in row.items()) + "}"
    if isinstance(row, list):
        return f"[{', '.join(map(as_python2, row))}]"
    return f"u{row!r}" if isinstance(row, str) else repr(row)


def amazon_2018(folder: Path) -> Path:
    reviews = [{"overall": rating, "verified": True, "reviewTime": "05 13, 2014", "reviewerID": user, "asin": item,
                "style": {"Size:": " L"}, "unixReviewTime": time} for user, item, rating, time in ROWS]
    meta = [{"category": ["Beauty", "Hair &amp; Skin"], "title": title.replace("&", "&amp;"), "brand": "B", "rank": [],
             "asin": item} for item, title in TITLES.items()]
    packed(folder / "meta_All_Beauty.json.gz", lines(meta))
    return packed(folder / "All_Beauty.json.gz", lines(reviews))


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
