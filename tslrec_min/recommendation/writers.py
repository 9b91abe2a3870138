"""Recommendations as JSON lines, CSV and Parquet, written block by block.

JSON lines have a user a line: ``{"user": "u1", "history": "stored", "items": ["i3", "i7"], "scores": [2.5, 1.25]}``.
CSV and Parquet have an item a row: user, history, rank (from 1), item, score. With titles there is a ``titles`` or a
``title`` too. ``history`` says what was read: ``stored``, the user's whole history in the data set, or ``given``.
Scores are float32, in texts with as many digits as tell them apart; they compare items of one user alone.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ..data.csr import owners
from ..data.dataset import Dataset
from ..storage.parquet import load_pyarrow


@dataclass(frozen=True)
class Recommendations:
    """The best items of some users."""

    user_ids: Sequence[str]
    """External ids, [B]."""
    items: np.ndarray
    """int64 [B, k], the best first; 0 where there is no further one."""
    scores: np.ndarray
    """float32 [B, k]."""


@dataclass(frozen=True)
class ItemNames:
    """What is written of an item, and of where histories are from."""

    item_ids: Sequence[str]
    """External ids, [I]."""
    titles: Sequence[str] | None
    """Titles, [I], or None: they are not written."""
    history: str
    """``stored`` or ``given``."""

    @classmethod
    def of(cls, dataset: Dataset, history: str, *, titles: bool) -> ItemNames:
        """Take the names from a data set."""
        return cls(dataset.item_ids, dataset.titles if titles else None, history)


Write = Callable[[Recommendations], None]


@contextlib.contextmanager
def open_writer(format: str, stream: BinaryIO, names: ItemNames) -> Iterator[Write]:
    """Give a function that writes a block to an open binary stream; the stream is left open.

    Raises:
        TslrecError: Parquet is asked for and pyarrow is missing.
    """
    if format == "parquet":
        with _parquet_writer(stream, names) as write:
            yield write
        return
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    try:
        yield _json_writer(text, names) if format == "jsonl" else _csv_writer(text, names)
        text.flush()
    finally:
        text.detach()  # would else close the stream


def _json_writer(text: io.TextIOWrapper, names: ItemNames) -> Write:
    def quoted(texts: Sequence[str]) -> list[str]:
        return ["", *(json.dumps(each, ensure_ascii=False) for each in texts)]  # once for all users

    item_ids, history = quoted(names.item_ids), json.dumps(names.history)
    titles = None if names.titles is None else quoted(names.titles)

    def write(best: Recommendations) -> None:
        lines, scores = [], best.scores.astype(str).tolist()
        for user, items, values, n in zip(best.user_ids, best.items.tolist(), scores, _counts(best), strict=True):
            named = "" if titles is None else f', "titles": [{", ".join(titles[item] for item in items[:n])}]'
            lines.append(f'{{"user": {json.dumps(user, ensure_ascii=False)}, "history": {history}, '
                         f'"items": [{", ".join(item_ids[item] for item in items[:n])}], '
                         f'"scores": [{", ".join(values[:n])}]{named}}}\n')
        text.write("".join(lines))
    return write


def _csv_writer(text: io.TextIOWrapper, names: ItemNames) -> Write:
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["user", "history", "rank", "item", "score", *(["title"] if names.titles is not None else [])])

    def write(best: Recommendations) -> None:
        scores = best.scores.astype(str).tolist()
        for user, items, values, n in zip(best.user_ids, best.items.tolist(), scores, _counts(best), strict=True):
            rows.writerows([user, names.history, rank, names.item_ids[item - 1], value,
                            *([names.titles[item - 1]] if names.titles is not None else [])]
                           for rank, (item, value) in enumerate(zip(items[:n], values, strict=False), 1))
    return write


@contextlib.contextmanager
def _parquet_writer(stream: BinaryIO, names: ItemNames) -> Iterator[Write]:
    pyarrow, parquet = load_pyarrow()
    fields = [("user", pyarrow.string()), ("history", pyarrow.string()), ("rank", pyarrow.int32()),
              ("item", pyarrow.string()), ("score", pyarrow.float32())]
    schema = pyarrow.schema(fields + ([("title", pyarrow.string())] if names.titles is not None else []))

    with parquet.ParquetWriter(stream, schema) as writer:
        def write(best: Recommendations) -> None:
            places, users = best.items > 0, owners(_counts(best))
            items = (best.items[places] - 1).tolist()
            ranks = np.broadcast_to(np.arange(1, best.items.shape[1] + 1, dtype=np.int32), best.items.shape)[places]
            columns = [[best.user_ids[user] for user in users.tolist()], [names.history] * len(items), ranks,
                       [names.item_ids[item] for item in items], best.scores[places]]
            if names.titles is not None:
                columns.append([names.titles[item] for item in items])
            writer.write_table(pyarrow.table(columns, schema=schema))
        yield write


def rows_of(best: Recommendations, names: ItemNames) -> Iterator[dict[str, Any]]:
    """Yield the rows of CSV and Parquet for Python."""
    scores = best.scores.tolist()
    for user, items, values, n in zip(best.user_ids, best.items.tolist(), scores, _counts(best), strict=True):
        for rank, (item, score) in enumerate(zip(items[:n], values, strict=False), 1):
            row = {"user": user, "history": names.history, "rank": rank, "item": names.item_ids[item - 1],
                   "score": score}
            yield row if names.titles is None else row | {"title": names.titles[item - 1]}


def _counts(best: Recommendations) -> list[int]:
    """Return how many items each user got."""
    counts: list[int] = (best.items > 0).sum(axis=1).tolist()
    return counts
