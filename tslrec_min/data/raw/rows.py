"""The interface of all formats: chunks of rows, as columns of values; bad rows are an error or counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np

from ...errors import TslrecError
from .ascii_columns import Cells

LINES_SHOWN = 5
"""Maximum number of line numbers kept per reason."""


class BadRows:
    """Rows that can't be used: the first one is an error, or all are left out and counted."""

    def __init__(self, *, skip: bool) -> None:
        """Take whether to leave them out."""
        self.skip = skip
        self.reasons: dict[str, dict[str, Any]] = {}
        """Reason -> ``rows``, their number, and ``first_lines``."""

    def add(self, where: object, line: int, reason: str, detail: str) -> None:
        """Count a row.

        Args:
            where: its file, for messages.
            line: its number from 1.
            reason: in a few words, the same for similar rows.
            detail: what this row contains and what was expected.

        Raises:
            TslrecError: bad rows are not to be skipped.
        """
        if not self.skip:
            raise TslrecError(f"{where}, line {line}: {detail} (--on-bad-row skip leaves such rows out)")
        rows = self.reasons.setdefault(reason, {"rows": 0, "first_lines": []})
        rows["rows"] += 1
        if len(rows["first_lines"]) < LINES_SHOWN:
            rows["first_lines"].append(line)


@dataclass(frozen=True)
class Chunk:
    """Some rows, as columns."""

    lines: Sequence[int]
    """Line number of each row, [n]."""
    columns: Mapping[str, Sequence[Any] | Cells]
    """``user``, ``item``, ``time``, ``rating`` (of items files: ``item``, ``title``, further texts) -> values, [n]."""
    is_text: bool = False
    """Whether all values are texts, to be used unchanged."""

    def __len__(self) -> int:
        """Return the number of rows n."""
        return len(self.lines)

    def where(self, kept: np.ndarray) -> Chunk:
        """Return the rows of a mask, bool [n]."""
        if kept.all():
            return self
        chosen = kept.tolist()
        return replace(self, lines=list(compress(self.lines, chosen)),
                       columns={name: values[kept] if isinstance(values, Cells) else
                                list(compress(values, chosen)) for name, values in self.columns.items()})


class MissingColumns(TslrecError):
    """A table lacks columns."""

    def __init__(self, where: object, names: Sequence[str], columns: Mapping[str, str], roles: Sequence[str], *,
                 kind: str = "column") -> None:
        """Take the table's name for messages, its columns, those to read (role -> name), and the roles without one."""
        flags = ", ".join(f"{flag_of(role, columns)} {columns[role]}" for role in roles)
        super().__init__(f"{where} has no {kind} for {flags}; its {kind}s are {', '.join(names)}" if names else
                         f"{where} is empty: it has no {kind} for {flags}")
        self.names, self.roles, self.missing = names, roles, {columns[role] for role in roles}


def flag_of(role: str, columns: Mapping[str, str]) -> str:
    """Return the flag that names the column of a role; `columns` are all that are read, role -> name."""
    return "--item-fields" if "title" in columns and role not in ("item", "title") else f"--{role}-column"


class Rows(ABC):
    """A table of any format, ready to be read."""

    file: object
    """Its name in messages."""
    names: Sequence[str]
    """Of the columns."""
    aliases: Mapping[str, Any] = {}
    """Given name -> column; in JSON Lines also several columns, of which the first with a value counts."""
    per_second: int = 1
    """Units of time per second."""
    timed: bool = True
    """Whether rows can have times."""

    def __str__(self) -> str:
        """Return its name in messages."""
        return str(self.file)

    def check(self, columns: Mapping[str, str]) -> None:
        """Raise MissingColumns if one of these columns, role -> name, is missing."""
        self.named(columns)

    def named(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return role -> column, for roles with a column.

        Args:
            columns: role -> name as given; empty: no column.

        Raises:
            MissingColumns: columns are missing; the message names the flags of all of them.
        """
        wanted = {role: self.aliases.get(name, name) for role, name in columns.items() if name}
        missing = [role for role, name in wanted.items() if name not in self.names]
        if missing:
            raise MissingColumns(self, self.names, columns, missing)
        return wanted

    @abstractmethod
    def chunks(self, columns: Mapping[str, str], bad: BadRows) -> Iterator[Chunk]:
        """Read rows.

        Args:
            columns: see `named`.
            bad: gets the rows that can't be split into fields.

        Raises:
            TslrecError: a column is missing, or a row can't be read and is not to be skipped.
        """
