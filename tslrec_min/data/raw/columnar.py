"""Typed columns: Parquet files, and data frames of pandas or polars.

Neither pandas nor polars is imported. Frames need ``columns``, ``frame[name]``, ``to_numpy`` and, for columns of
integers with missing values, ``dtype`` and ``to_list``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import TslrecError
from ...storage.parquet import load_pyarrow
from .rows import BadRows, Chunk, Rows
from .text import RawFile

_CHUNK_ROWS = 1 << 16


class Parquet(Rows):
    """A Parquet file; its rows are numbered from 1."""

    file: RawFile

    def __init__(self, file: RawFile) -> None:
        """Read the names of a file's columns.

        Raises:
            TslrecError: pyarrow is not installed, or the file is damaged or compressed as a whole.
        """
        if file.path.suffix == ".gz":
            raise TslrecError(f"{file} is a Parquet file inside gzip; decompress it")
        with _pyarrow(file) as parquet:
            self.file, self.names = file, tuple(parquet.read_schema(file.path).names)

    def chunks(self, columns: Mapping[str, str], bad: BadRows) -> Iterator[Chunk]:
        """See `Rows.chunks`; a damaged file is a TslrecError too."""
        wanted, start = self.named(columns), 1
        with _pyarrow(self.file) as parquet, parquet.ParquetFile(self.file.path) as table:
            for batch in table.iter_batches(_CHUNK_ROWS, columns=sorted(set(wanted.values()))):
                lines = range(start, start + batch.num_rows)
                yield Chunk(lines, {role: batch.column(name).to_pylist() for role, name in wanted.items()})
                start += batch.num_rows


@contextlib.contextmanager
def _pyarrow(file: RawFile) -> Iterator[Any]:
    """Give pyarrow.parquet, and turn its errors into TslrecError."""
    _, parquet = load_pyarrow()
    try:
        yield parquet
    except Exception as error:  # pyarrow's errors are of many kinds
        raise TslrecError(f"{file} can't be read as Parquet: {error}; it is damaged, or not what its name says: fetch "
                          "it again") from None


class Frame(Rows):
    """A data frame; its rows are numbered from 1."""

    def __init__(self, frame: Any, what: str) -> None:
        """Take a frame and its name in messages."""
        self.frame, self.file, self.names = frame, what, tuple(map(str, frame.columns))

    def chunks(self, columns: Mapping[str, str], bad: BadRows) -> Iterator[Chunk]:
        """See `Rows.chunks`."""
        wanted = self.named(columns)
        arrays = {role: _array(self.frame[name]) for role, name in wanted.items()}
        for start in range(0, len(self.frame), _CHUNK_ROWS):
            parts = {role: array[start:start + _CHUNK_ROWS].tolist() for role, array in arrays.items()}
            yield Chunk(range(start + 1, 1 + min(start + _CHUNK_ROWS, len(self.frame))), parts)


def _array(column: Any) -> np.ndarray:
    """Return a column as an array whose ``tolist`` gives the values as they are."""
    array = np.asarray(column.to_numpy())
    if array.dtype.kind == "f" and "int" in str(getattr(column, "dtype", "")).lower():
        return np.array(column.to_list(), object)  # integers with missing values, which ``to_numpy`` turns into floats
    return array.astype("datetime64[us]") if array.dtype.kind == "M" else array  # nanoseconds would become integers
