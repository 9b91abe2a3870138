"""Numbers for ids, in order of first appearance.

Columns of text are looked up all at once by the kernel `_delimited`, many times as fast as in a dictionary, where other
values are looked up. Each learns of the other's ids when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np

from . import _delimited
from .ascii_columns import Cells
from .values import can_be_id

_SLOT_BITS = 13
"""A table of ids begins with 8,192 slots and doubles them when half are taken."""


class Codes(dict[str, int]):
    """Id -> code 0, 1, ... in order of appearance; looking a new one up gives it the next code."""

    def __missing__(self, name: str) -> int:
        """Give a new id its code; raises ValueError if it can't be an id."""
        if not can_be_id(name):
            raise ValueError(name)
        code = self[name] = len(self)
        return code


class ColumnCodes:
    """Codes of ids in columns of any kind."""

    def __init__(self) -> None:
        """Start without ids."""
        self._codes = Codes()
        self._table = _delimited.IdTable(_SLOT_BITS)

    def look_up(self, column: Cells | Iterable[str]) -> np.ndarray:
        """Return the codes of a column, int32 [n].

        Raises:
            ValueError: one can't be an id.
        """
        if not isinstance(column, Cells):
            known = len(self._codes)
            self._codes.update(zip(self._names(known), range(known, len(self._table)), strict=True))
            return np.fromiter(map(self._codes.__getitem__, column), np.int32)
        others = [name.encode() for name in islice(self._codes, len(self._table), None)]
        if others:
            ends = np.cumsum([len(name) for name in others], dtype=np.int32)
            self._look_up(Cells(b"".join(others), np.concatenate([ends[:1] * 0, ends[:-1]]), ends))
        known = len(self._table)
        codes, printable = self._look_up(column)
        if not (printable or all(map(can_be_id, self._names(known)))):
            self._table.truncate(known)
            raise ValueError("a column has an id that can't be one")
        return codes

    def __len__(self) -> int:
        """Return the number of ids."""
        return max(len(self._codes), len(self._table))

    def truncate(self, count: int) -> None:
        """Forget all ids but the first `count`; the others must come from columns of cells."""
        self._table.truncate(min(count, len(self._table)))

    def names(self) -> list[str]:
        """Return all ids by code."""
        return self._names(0) + list(islice(self._codes, len(self._table), None))

    def _look_up(self, cells: Cells) -> tuple[np.ndarray, bool]:
        """Return the codes of a column, int32 [n], and whether all new ids are printable ASCII."""
        codes = np.empty(len(cells), np.int32)
        return codes, not len(cells) or self._table.look_up(cells.data or b"\n", cells.starts, cells.ends, codes)

    def _names(self, first: int) -> list[str]:
        """Return the table's ids from number `first` on; none holds a line feed."""
        return self._table.names(first).decode().split("\n")[:-1]
