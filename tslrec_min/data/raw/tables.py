"""Tables: CSV and TSV, RecBole atomic files, and MovieLens files of all versions.

Formats, by their own documentation:

- RecBole atomic files (recbole.io, "Data: Atomic Files"): tab-separated, ``name:type`` in the header;
- MovieLens, by the READMEs: 100K (u.data: ``user item rating timestamp``, tab-separated; u.item: 24 fields with ``|``,
  latin-1); 1M (``UserID::MovieID::Rating::Timestamp`` and ``MovieID::Title::Genres``, latin-1); 10M (the same, UTF-8);
  20M, 25M, 32M and latest (ratings.csv: ``userId,movieId,rating,timestamp``; movies.csv: ``movieId,title,genres``);
- the ratings-only files of Amazon Reviews 2023: ``user_id,parent_asin,rating,timestamp``, in milliseconds.

Blocks of plain lines are split all at once (`ascii_columns.cut`), by threads that work ahead. Others, such as those
with a row of another number of fields, or with line breaks inside quotes, are read row by row, with the same result.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from ...configs import PrepareConfig
from ...errors import TslrecError
from ...runtime.background import each_ahead, one_ahead
from ...runtime.device import usable_processors
from .ascii_columns import count_lines, cut
from .rows import BadRows, Chunk, Rows
from .text import Block, ByteBlock, RawFile, byte_blocks, is_utf8, text_lines

_CHUNK_ROWS = 1 << 15
_MOST_AHEAD = 8
"""Blocks that are split, or wait to be used, at once; with more the look-up of ids, by one thread, can't keep up."""
_TYPED_SUFFIXES = (".inter", ".item")
_GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
           "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western")
_FIXED = {
    ".data": ("\t", ("user_id", "item_id", "rating", "timestamp")),
    ".dat": ("::", ("user_id", "item_id", "rating", "timestamp")),
    "movies.dat": ("::", ("item_id", "title", "genres")),
    "u.item": ("|", ("item_id", "title", "release_date", "video_release_date", "imdb_url", *_GENRES)),
}
"""Name or suffix -> delimiter and columns of files without a header."""
_KNOWN_HEADERS = {
    ("userId", "movieId", "rating", "timestamp"): ("movielens", {"user_id": "userId", "item_id": "movieId"}),
    ("movieId", "title", "genres"): ("movielens", {"item_id": "movieId"}),
    ("user_id", "parent_asin", "rating", "timestamp"): ("amazon", {"item_id": "parent_asin"}),
}
"""Header -> format, and the columns that the defaults of flags stand for."""
_SPACES = " \t\x0b\x0c\x1c\x1d\x1e\x1f"
"""ASCII white space of str.strip, without line ends."""


@dataclass(frozen=True)
class Table(Rows):
    """A table and its layout."""

    file: RawFile
    names: tuple[str, ...]
    delimiter: str
    quoted: bool
    """Whether fields may be in double quotes, as in CSV; white space before them is ignored: ``a, "b, c"`` has two."""
    stripped: bool
    """Whether white space around a field is not part of it."""
    encoding: str
    header_line: int
    """Number of the line with the names, 0 if there is none."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    format: str = "csv"
    """Of the configuration, as recognised by the header."""
    per_second: int = 1

    def chunks(self, columns: Mapping[str, str], bad: BadRows) -> Iterator[Chunk]:
        """See `Rows.chunks`; bad rows are those with another number of fields than the header."""
        places = {role: self.names.index(name) for role, name in self.named(columns).items()}
        blocks = each_ahead(partial(simple_chunk, self, places=places), one_ahead(self._blocks()),
                            min(usable_processors(), _MOST_AHEAD))
        for block, chunk in blocks:
            if chunk is not None:
                yield chunk
            elif self.quoted and '"' in block.text:  # a quoted field may continue in the next block
                yield from self._row_by_row(chain([block], (block for block, _ in blocks)), places, bad)
                return
            else:  # a row has another number of fields
                yield from self._row_by_row([block], places, bad)

    def _blocks(self) -> Iterator[Block | ByteBlock]:
        """Read the blocks below the header."""
        for block in byte_blocks(self.file, self.encoding):
            above = self.header_line - block.first_line + 1
            if above <= 0:
                yield block
            elif isinstance(block, ByteBlock) and count_lines(block.data) >= above:
                yield ByteBlock(self.header_line + 1, block.data.split(b"\n", above)[above])
            elif block.text.count("\n") >= above:
                yield Block(self.header_line + 1, block.text.split("\n", above)[above])

    def _row_by_row(self, blocks: Iterable[Block | ByteBlock], places: Mapping[str, int], bad: BadRows
                    ) -> Iterator[Chunk]:
        lines: list[int] = []
        rows: list[list[str]] = []
        split = ((number, text.split(self.delimiter)) for block in blocks
                 for number, text in enumerate(block.text.split("\n"), block.first_line) if text.strip(" "))
        for line, cells in self._csv_rows(blocks) if self.quoted else split:
            if len(cells) != len(self.names):
                if rows and not bad.skip:  # an earlier row may be bad too; the error names the first one
                    yield _chunk_of(lines, rows, places)
                bad.add(self.file, line, "wrong number of fields",
                        f"{len(cells)} fields; expected {len(self.names)} ({', '.join(self.names)})")
                continue
            lines.append(line)
            rows.append([cells[place].strip() if self.stripped else cells[place] for place in places.values()])
            if len(rows) == _CHUNK_ROWS:
                yield _chunk_of(lines, rows, places)
                lines, rows = [], []
        if rows:
            yield _chunk_of(lines, rows, places)

    def _csv_rows(self, blocks: Iterable[Block | ByteBlock]) -> Iterator[tuple[int, list[str]]]:
        remaining = iter(blocks)
        first = next(remaining)
        line = above = first.first_line - 1
        ended = False

        def lines() -> Iterator[str]:
            nonlocal ended
            for block in chain([first], remaining):
                yield from io.StringIO(block.text, newline="")
            ended = True
            yield "\n"  # a row of its own, unless a quote is open

        reader = csv.reader(lines(), delimiter=self.delimiter, skipinitialspace=True)
        try:
            for cells in reader:
                if ended and cells:
                    raise csv.Error("the file ends inside quotes")
                line = above + reader.line_num
                if len(cells) > 1 or "".join(cells).strip():
                    yield line, cells
        except csv.Error as error:
            raise TslrecError(f"{self.file}, line {line + 1}: {error}; a field that begins with a double quote in this "
                              "row is not closed, or is too long") from None


def simple_chunk(table: Table, block: Block | ByteBlock, places: Mapping[str, int]) -> Chunk | None:
    """Split lines all at once; None if a row has another number of fields, or quotes that are not plain.

    Plain lines are cut by their bytes (`ascii_columns.cut`). In others a line feed becomes a field of its own: the
    number of fields is right exactly if these are at their places.
    """
    mark, width = table.delimiter, len(table.names)
    lines: str | bytes = block.data if isinstance(block, ByteBlock) else block.text
    if isinstance(lines, bytes):
        lines = lines if lines.endswith(b"\n") else lines + b"\n"
    else:
        lines = lines if lines.endswith("\n") else lines + "\n"
    fields = cut(lines, mark, width, list(places.values()), quoted=table.quoted, stripped=table.stripped)
    if fields is not None:
        return Chunk(range(block.first_line, block.first_line + len(fields[0])),
                     dict(zip(places, fields, strict=True)), is_text=True)
    text = lines.decode().replace("\r\n", "\n") if isinstance(lines, bytes) else lines
    if table.quoted and '"' in text:
        return None
    spaces = table.stripped and (not text.isascii() or any(space in text for space in _SPACES if space != mark))
    cells = text.replace("\n", f"{mark}\n{mark}").split(mark)
    count, step = text.count("\n"), width + 1
    if len(cells) != count * step + 1 or cells[width::step].count("\n") != count:
        return None
    cells.pop()
    columns = {role: cells[place::step] for role, place in places.items()}
    if spaces:
        columns = {role: list(map(str.strip, values)) for role, values in columns.items()}
    return Chunk(range(block.first_line, block.first_line + count), columns, is_text=True)


def _chunk_of(lines: list[int], rows: list[list[str]], places: Mapping[str, int]) -> Chunk:
    return Chunk(lines, dict(zip(places, map(list, zip(*rows, strict=True)), strict=True)), is_text=True)


def open_table(file: RawFile, config: PrepareConfig, *, items: bool = False) -> Table:
    """Find out the layout of a table from its name and its first line.

    Args:
        file: of the table.
        config: encoding, format and, of interactions, the names of columns; the format ``csv`` renames no columns.
        items: whether it is a table of items, not of interactions.

    Raises:
        TslrecError: it can't be read.
    """
    as_it_is = config.format == "csv"
    fixed = _FIXED.get(file.name) or (None if as_it_is else _FIXED.get(file.suffix))
    if fixed:
        delimiter, names = fixed
        utf8 = file.name == "movies.dat" and is_utf8(file)  # of MovieLens 10M; older titles are latin-1
        encoding = config.encoding or ("utf-8" if utf8 else "latin-1")
        return Table(file, _renamed(names, config), delimiter, False, False, encoding, 0)
    encoding = config.encoding or "utf-8"
    number, first = next(text_lines(file, encoding), (0, ""))
    if file.suffix in _TYPED_SUFFIXES or (config.format == "recbole" and not items):
        names = _renamed([cell.split(":")[0] for cell in first.split("\t")], config)
        return Table(file, names, "\t", False, False, encoding, number)
    delimiter = "\t" if "\t" in first else next((mark for mark in ";," if mark in first), ",")
    quoted = delimiter != "\t"  # TSV: bare inch marks
    if config.columns and not items:
        return Table(file, tuple(name.strip() for name in config.columns.split(",")), delimiter, quoted, True,
                     encoding, 0)
    try:
        cells = (next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), []) if quoted
                 else first.split(delimiter))
    except csv.Error as error:
        raise TslrecError(f"{file}, line {number}: {error}; expected a header with the names of columns") from None
    names = tuple(cell.strip() for cell in cells) if first else ()
    format, aliases = ("csv", {}) if as_it_is else _KNOWN_HEADERS.get(names, ("csv", {}))
    return Table(file, names, delimiter, quoted, True, encoding, number, aliases, format,
                 1000 if format == "amazon" else 1)


def _renamed(header: Iterable[str], config: PrepareConfig) -> tuple[str, ...]:
    """Return the columns of a format with fixed names, renamed as the flags name them."""
    names = {"user_id": config.user_column, "item_id": config.item_column, "rating": config.rating_column,
             "timestamp": config.time_column or "timestamp"}
    return tuple(names.get(name, name) for name in header)
