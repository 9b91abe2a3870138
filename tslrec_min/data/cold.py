"""Cold items, held out of training altogether, and the users to whom they are recommended.

Adapters score them by their embeddings alone. A user's target is the last cold item that has a warm one before it; the
history is the warm items before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..runtime.validation import as_int64, as_offsets, check_length, check_range
from ..storage.arrays import load_arrays
from .item_table import load_item_table, save_item_table

_ARRAYS, _ITEMS = "cold.npz", "cold_items.tsv"
_NAMES = ("users", "targets", "warm_before", "indptr", "earlier", "n_interactions")


@dataclass(frozen=True)
class ColdItems:
    """The cold items of a data set and the users with one as a target."""

    item_ids: Sequence[str]
    """External ids, [C]; ``item_ids[c - 1]`` is cold item c."""
    titles: Sequence[str]
    """Titles, [C]; may be blank."""
    fields: Mapping[str, Sequence[str]]
    """Name of a further column of the items file -> its texts, [C]."""
    users: np.ndarray
    """int64 [E], rising: the users with a target."""
    targets: np.ndarray
    """int64 [E], cold items 1..C."""
    warm_before: np.ndarray
    """int64 [E], at least 1: number of items of the user's history before the target."""
    indptr: np.ndarray
    """int64 [E+1]: ``earlier[indptr[e]:indptr[e + 1]]`` is of user ``users[e]``."""
    earlier: np.ndarray
    """int64 [M], cold items 1..C that the user had before the target; like the history, they are left out."""
    n_interactions: int
    """Number of interactions with cold items, which are in no history."""

    @property
    def n_items(self) -> int:
        """Number of cold items C."""
        return len(self.item_ids)

    def save(self, folder: Path) -> None:
        """Write cold.npz and cold_items.tsv into `folder`."""
        np.savez(folder / _ARRAYS, **{name: getattr(self, name) for name in _NAMES})  # type: ignore[arg-type]
        save_item_table(folder / _ITEMS, self.item_ids, self.titles, self.fields)

    @classmethod
    def load(cls, folder: Path, n_users: int) -> ColdItems | None:
        """Read what `save` wrote; None if it wrote nothing.

        Raises:
            TslrecError, OSError, ValueError, IndexError: a file can't be read, or the arrays do not match.
        """
        if not (folder / _ARRAYS).is_file():
            return None
        arrays = load_arrays(folder / _ARRAYS, _NAMES)
        values = {name: as_int64(name, arrays[name]) for name in ("users", "targets", "warm_before", "earlier")}
        item_ids, titles, fields = load_item_table(folder / _ITEMS)
        for name in ("targets", "warm_before"):
            check_length(name, values[name], len(values["users"]), "user")
        check_range("users", values["users"], 0, n_users - 1)
        check_range("targets", values["targets"], 1, len(item_ids))
        check_range("earlier", values["earlier"], 1, len(item_ids))
        indptr = as_offsets("indptr", arrays["indptr"], len(values["earlier"]))
        check_length("indptr", indptr, len(values["users"]) + 1, "user and one")
        return cls(item_ids, titles, fields, indptr=indptr, n_interactions=int(arrays["n_interactions"]), **values)
