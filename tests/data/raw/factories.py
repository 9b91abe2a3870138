"""What several test files build or ask alike."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.data.raw.discover import find_source
from tslrec_min.data.raw.interactions import RawInteractions
from tslrec_min.data.raw.readers import open_rows, read_interactions
from tslrec_min.data.raw.text import RawFile
from tslrec_min.data.raw.titles import RawItems, collect_items

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


def amazon_2014(folder: Path) -> Path:
    reviews = [{"reviewerID": user, "asin": item, "reviewerName": "x", "helpful": [0, 0], "reviewText": 'so "so"',
                "overall": rating, "summary": "s", "unixReviewTime": time, "reviewTime": "05 13, 2014"}
               for user, item, rating, time in ROWS]
    meta = [{"asin": item, "title": title, "price": 3.5, "related": {"also_bought": ["x", "y"]},
             "categories": [["Beauty", "Hair Care"]]} for item, title in TITLES.items()]
    packed(folder / "meta_Beauty.json.gz", lines(meta, repr))
    return packed(folder / "reviews_Beauty_5.json.gz", lines(reviews))


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


def read_items(file: RawFile, config: PrepareConfig) -> RawItems:
    return collect_items(open_rows(file, config, items=True), config)


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


def in_words(raw: RawInteractions) -> list[tuple[Any, ...]]:
    times = [None] * len(raw.users) if raw.times is None else raw.times.tolist()
    return [(raw.user_ids[user], raw.item_ids[item], time)
            for user, item, time in zip(raw.users, raw.items, times, strict=True)]
