"""Columns of delimited text as arrays, without a Python object for every field.

A block of bytes is cut into fields, and numbers are read, by the kernel `_delimited`. It does what is plain; anything
else is left to Python, field by field or row by row, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from . import _delimited

_FEW = 100
"""Fields that are decoded one by one."""


@dataclass(frozen=True)
class Cells:
    """A column: fields of a text."""

    data: bytes
    """The text, UTF-8."""
    starts: np.ndarray
    """int32 [n], positions of the first bytes."""
    ends: np.ndarray
    """int32 [n], not included."""

    def __len__(self) -> int:
        """Return the number of fields n."""
        return len(self.starts)

    def __iter__(self) -> Iterator[str]:
        """Yield the fields as texts."""
        places = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        if len(self) > _FEW and self.data.isascii():
            text = self.data.decode()
            return (text[start:end] for start, end in places)
        return (self.data[start:end].decode() for start, end in places)

    def __getitem__(self, rows: np.ndarray | slice) -> Cells:
        """Return the fields of a mask, bool [n], of positions, int64, or of a slice without a step."""
        return Cells(self.data, self.starts[rows], self.ends[rows])

    def integers(self) -> np.ndarray | None:
        """Return the fields as int64 [n], or None unless all have 1 to 18 digits."""
        values = np.empty(len(self), np.int64)
        return values if not len(self) or _delimited.integers(self.data, self.starts, self.ends, values) else None

    def decimals(self) -> np.ndarray | None:
        """Return the fields as float64 [n], or None unless all are like 12 or -3.50, with at most 15 digits."""
        values = np.empty(len(self), np.float64)
        return values if not len(self) or _delimited.decimals(self.data, self.starts, self.ends, values) else None


def count_lines(data: bytes) -> int:
    """Return the number of line feeds."""
    return _delimited.count_lines(data) if data else 0


def cut(text: str | bytes, delimiter: str, width: int, places: Sequence[int] | None = None, *, quoted: bool = False,
        stripped: bool = False) -> list[Cells] | None:
    r"""Cut lines of fields into columns; None if a line is not plain.

    A line is plain if it has `width` fields. Quoted ones must hold no line break and, if wanted, no quote, and have
    nothing but the delimiter behind them. White space around wanted ones must be ASCII, if it is to be stripped.

    Args:
        text: whole lines, each with a line feed, perhaps after \r; there is no other \r. Bytes are UTF-8, and a str is
            ASCII, or not plain.
        delimiter: of a field from the next.
        width: number of columns.
        places: of the columns that are wanted; None: all.
        quoted: whether fields may be in double quotes, as in CSV, after spaces.
        stripped: whether white space around a field is not part of it.
    """
    places, mark = range(width) if places is None else places, delimiter.encode()
    wanted = dict.fromkeys(places)
    if not wanted or width < 2 or len(mark) not in (1, 2) or (isinstance(text, str) and not text.isascii()):
        return None
    data = text.encode() if isinstance(text, str) else text
    column_of_field = np.full(width, -1, np.int32)
    column_of_field[list(wanted)] = np.arange(len(wanted))
    starts, ends = np.empty((2, len(wanted), count_lines(data)), np.int32)
    if data and _delimited.cut(data, mark, column_of_field, quoted, stripped, starts, ends) < 0:
        return None
    columns = {place: Cells(data, starts[column], ends[column]) for column, place in enumerate(wanted)}
    return [columns[place] for place in places]
