"""Recommendations as JSON lines, CSV and Parquet, written block by block.

JSON lines have a user per line: ``{"user": "u1", "history": "stored", "items": ["i3", "i7"], "scores": [2.5, 1.25]}``.
CSV and Parquet have an item per row: user, history, rank (from 1), item, score. With titles there is also ``titles`` or
``title``. ``history`` is ``stored`` for the user's whole history in the data set, or ``given``. Scores are float32,
written with the digits that float32 needs; compare them only within one user.
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

from ..storage.parquet import load_pyarrow


@dataclass(frozen=True)
class Recommendations:
    """The best items of some users."""

    user_ids: Sequence[str]
    """External ids, [B]."""
    items: np.ndarray
    """int64 [B, k], the best first; 0 after the last item."""
    scores: np.ndarray
    """float32 [B, k]."""


@dataclass(frozen=True)
class ItemNames:
    """What is written besides users, items and scores."""

    item_ids: Sequence[str]
    """External ids, [I]."""
    titles: Sequence[str] | None
    """Titles, [I]; None: they are not written."""
    history: str
    """``stored`` or ``given``."""


Write = Callable[[Recommendations], None]


@contextlib.contextmanager
def open_writer(format: str, stream: BinaryIO, names: ItemNames) -> Iterator[Write]:
    """Give a function that writes a block to an open binary stream; the stream is left open.

    Raises:
        TslrecError: the format is Parquet and pyarrow is missing.
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
        text.detach()  # otherwise the wrapper would close the stream


def _json_writer(text: io.TextIOWrapper, names: ItemNames) -> Write:
    def quoted(texts: Sequence[str]) -> list[str]:
        return ["", *(json.dumps(each, ensure_ascii=False) for each in texts)]  # once for all users

    item_ids, history = quoted(names.item_ids), json.dumps(names.history)
    titles = None if names.titles is None else quoted(names.titles)

    def write(best: Recommendations) -> None:
        lines, counts = [], (best.items > 0).sum(axis=1).tolist()
        scores = best.scores.astype(str).tolist()
        for user, items, values, n in zip(best.user_ids, best.items.tolist(), scores, counts, strict=True):
            named = "" if titles is None else f', "titles": [{", ".join(titles[item] for item in items[:n])}]'
            lines.append(f'{{"user": {json.dumps(user, ensure_ascii=False)}, "history": {history}, '
                         f'"items": [{", ".join(item_ids[item] for item in items[:n])}], '
                         f'"scores": [{", ".join(values[:n])}]{named}}}\n')
        text.write("".join(lines))
    return write


def _csv_writer(text: io.TextIOWrapper, names: ItemNames) -> Write:
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_columns(names))
    return lambda best: rows.writerows(_rows(best, names, best.scores.astype(str)))


@contextlib.contextmanager
def _parquet_writer(stream: BinaryIO, names: ItemNames) -> Iterator[Write]:
    pyarrow, parquet = load_pyarrow()
    types = {"rank": pyarrow.int32(), "score": pyarrow.float32()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in _columns(names)])
    with parquet.ParquetWriter(stream, schema) as writer:
        def write(best: Recommendations) -> None:  # by column, which takes half the time of `_rows`
            users, places = np.nonzero(best.items)
            items = (best.items[users, places] - 1).tolist()
            columns = [[best.user_ids[user] for user in users.tolist()], [names.history] * len(items),
                       (places + 1).astype(np.int32), [names.item_ids[item] for item in items],
                       best.scores[users, places]]
            if names.titles is not None:
                columns.append([names.titles[item] for item in items])
            writer.write_table(pyarrow.table(columns, schema=schema))
        yield write


def rows_of(best: Recommendations, names: ItemNames) -> Iterator[dict[str, Any]]:
    """Yield the rows of CSV and Parquet for Python."""
    columns = _columns(names)
    for row in _rows(best, names, best.scores):
        yield dict(zip(columns, row, strict=True))


def _columns(names: ItemNames) -> list[str]:
    return ["user", "history", "rank", "item", "score", *(["title"] if names.titles is not None else [])]


def _rows(best: Recommendations, names: ItemNames, scores: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `_columns` for every item; scores [B, k] are numbers or texts."""
    for user, items, values in zip(best.user_ids, best.items.tolist(), scores.tolist(), strict=True):
        for rank, (item, score) in enumerate(zip(items, values, strict=True), 1):
            if item:
                title = () if names.titles is None else (names.titles[item - 1],)
                yield user, names.history, rank, names.item_ids[item - 1], score, *title
