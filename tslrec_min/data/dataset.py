"""The data set artifact: user histories as CSR, string ids, titles and further texts, and the leave-one-out split.

Leave-one-out as in SASRec (Kang and McAuley, 2018): of every history of at least three items the last item is
the test target, the one before it the validation target, the rest is for training. Shorter histories are for
training only. Internal item ids are 1..I, 0 is padding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..artifacts import load_arrays, open_artifact, sha256_of_json
from ..checks import as_int64, as_offsets, check_length, check_range
from ..errors import TslrecError
from ..prompts import UNTITLED
from ..sampling import SeenItems
from .cold import ColdItems
from .item_table import load_item_table, load_lines, save_item_table

SPLITS = ("validation", "test")
_SHORTEST_SPLIT_HISTORY = 3


@dataclass(frozen=True)
class Histories:
    """Item histories of all users in time order (CSR)."""

    indptr: np.ndarray
    """int64 [U+1]: user u's items are ``items[indptr[u]:indptr[u+1]]``."""
    items: np.ndarray
    """int32 [N], internal ids 1..I."""

    def __len__(self) -> int:
        """Return the number of users U."""
        return len(self.indptr) - 1

    def of(self, user: int) -> np.ndarray:
        """Return the items of one user, int32 [n]."""
        return self.items[self.indptr[user]:self.indptr[user + 1]]

    def last(self, count: int) -> Histories:
        """Return every user's most recent `count` items."""
        lengths = np.minimum(np.diff(self.indptr), count)
        from_end = np.repeat(self.indptr[1:], np.diff(self.indptr)) - np.arange(len(self.items))
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Histories(indptr, self.items[from_end <= count])

    def without_last(self, counts: np.ndarray) -> Histories:
        """Return the histories without the last ``counts[u]`` items of every user u."""
        lengths = np.diff(self.indptr) - counts
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        position = np.arange(len(self.items)) - np.repeat(self.indptr[:-1], np.diff(self.indptr))
        return Histories(indptr, self.items[position < np.repeat(lengths, np.diff(self.indptr))])


@dataclass(frozen=True)
class Evaluation:
    """Targets to rank."""

    histories: Histories
    """What is known of all users when the target is asked for."""
    users: np.ndarray
    """int64 [E], the users with a target."""
    targets: np.ndarray
    """int64 [E], internal ids."""

    def seen(self, n_items: int) -> SeenItems:
        """Return the items of all histories: what a ranking leaves out unless they are to be recommended again."""
        return SeenItems.from_histories(self.histories.indptr, self.histories.items, n_items)


@dataclass(frozen=True)
class Dataset:
    """Interactions, ids and titles after preparation."""

    histories: Histories
    """All interactions, validation and test targets included."""
    user_ids: Sequence[str]
    """External user ids, [U]."""
    item_ids: Sequence[str]
    """External item ids, [I]; ``item_ids[i - 1]`` is internal item i."""
    titles: Sequence[str]
    """Item titles, [I]; may be blank."""
    timestamps: np.ndarray | None = None
    """int64 or float64 [N] beside ``histories.items``, or None where only the order is known."""
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Name of a further column of the items file -> its texts, [I]; may be blank."""
    cold: ColdItems | None = None
    """Items that nothing may learn from, and their targets; none of them is among the I items above."""

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Number of users U."""
        return len(self.user_ids)

    @property
    def evaluated_users(self) -> np.ndarray:
        """Users with a validation and a test target, int64 [E]."""
        return np.flatnonzero(np.diff(self.histories.indptr) >= _SHORTEST_SPLIT_HISTORY)

    def training(self) -> Histories:
        """Return the training histories: no validation or test target is in them."""
        return self._before("validation")

    def evaluation(self, split: str) -> Evaluation:
        """Return the targets of a split, ``validation`` or ``test``.

        The histories for ``test`` hold the validation target, as is usual for leave-one-out.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        users = self.evaluated_users
        offset = 2 if split == "validation" else 1
        targets = self.histories.items[self.histories.indptr[users + 1] - offset].astype(np.int64)
        return Evaluation(self._before(split), users, targets)

    def within_training(self) -> Evaluation:
        """Return the last item of every training history of at least three items as a target.

        For stages that must not depend on validation or test items but still need something to validate on.
        """
        training = self.training()
        users = np.flatnonzero(np.diff(training.indptr) >= _SHORTEST_SPLIT_HISTORY)
        counts = np.zeros(self.n_users, np.int64)
        counts[users] = 1
        targets = training.items[training.indptr[users + 1] - 1].astype(np.int64)
        return Evaluation(training.without_last(counts), users, targets)

    def with_cold_items(self) -> Dataset:
        """Return the catalogue that is embedded: cold item c becomes item I + c, which is in no history."""
        if self.cold is None:
            return self
        return replace(self, item_ids=[*self.item_ids, *self.cold.item_ids], titles=[*self.titles, *self.cold.titles],
                       fields={name: [*texts, *self.cold.fields[name]] for name, texts in self.fields.items()},
                       cold=None)

    def cold_evaluation(self) -> Evaluation:
        """Return the cold targets, ids I+1..I+C as in `with_cold_items`; their users' histories end before them.

        Raises:
            ValueError: the data set has no cold items.
        """
        if self.cold is None:
            raise ValueError("the data set has no cold items")
        lengths = np.diff(self.histories.indptr)
        counts = np.zeros(self.n_users, np.int64)
        counts[self.cold.users] = lengths[self.cold.users] - self.cold.warm_before
        return Evaluation(self.histories.without_last(counts), self.cold.users, self.cold.targets + self.n_items)

    def _before(self, split: str) -> Histories:
        counts = np.zeros(self.n_users, np.int64)
        counts[self.evaluated_users] = 2 if split == "validation" else 1
        return self.histories.without_last(counts)

    def texts(self, mode: str, fields: Sequence[str] = ()) -> list[str]:
        """Return what a prompt says of every item, [I].

        Args:
            mode: ``title``; ``fields``: the title and, in brackets, further columns where they are not blank;
                ``id``: the external id alone, for data without usable text.
            fields: names of the columns for ``fields``.

        Raises:
            TslrecError: the data set lacks such a column.
        """
        if mode == "title":
            return list(self.titles)
        if mode == "id":
            return [f"item {item_id}" for item_id in self.item_ids]
        missing = [name for name in fields if name not in self.fields]
        if missing:
            raise TslrecError(f"the data set has no item column {', '.join(missing)} (it has: "
                              f"{', '.join(self.fields) or 'none'}); prepare it with --item-fields {','.join(fields)}")
        columns = [self.fields[name] for name in fields]
        texts = []
        for title, *values in zip(self.titles, *columns, strict=True):
            known = "; ".join(f"{name}: {value}" for name, value in zip(fields, values, strict=True) if value)
            texts.append(f"{title or UNTITLED} ({known})" if known else title)
        return texts

    def catalogue_hash(self) -> str:
        """Hash of the item ids in row order: what item embeddings must agree with."""
        return sha256_of_json(list(self.item_ids))

    def split_hash(self) -> str:
        """Hash of the split in external ids: equal exactly if every user's ordered history is equal."""
        digest = hashlib.sha256()
        for user, user_id in enumerate(self.user_ids):
            items = " ".join(self.item_ids[item - 1] for item in self.histories.of(user))
            digest.update(f"{user_id}\t{items}\n".encode())
        return digest.hexdigest()

    def statistics(self) -> dict[str, float | int | str]:
        """Return the figures by which data sets are compared."""
        n_rows = len(self.histories.items)
        figures: dict[str, float | int | str] = {
            "users": self.n_users, "items": self.n_items, "interactions": n_rows,
            "density": n_rows / (self.n_users * self.n_items), "mean_length": n_rows / self.n_users,
            "blank_titles": sum(not title for title in self.titles), "split_hash": self.split_hash(),
        }
        if self.cold:
            figures |= {"cold_items": self.cold.n_items, "cold_users": len(self.cold.users),
                        "cold_interactions": self.cold.n_interactions}
        return figures

    def save(self, folder: Path) -> None:
        """Write interactions.npz, items.tsv and users.txt into `folder`, and what `ColdItems.save` writes."""
        arrays = {"indptr": self.histories.indptr, "items": self.histories.items}
        if self.timestamps is not None:
            arrays["timestamps"] = self.timestamps
        np.savez(folder / "interactions.npz", **arrays)  # type: ignore[arg-type]
        save_item_table(folder / "items.tsv", self.item_ids, self.titles, self.fields)
        (folder / "users.txt").write_text("".join(f"{user}\n" for user in self.user_ids), encoding="utf-8")
        if self.cold:
            self.cold.save(folder)


def load_dataset(path: Path) -> tuple[Dataset, str]:
    """Read a data set artifact.

    Returns:
        The data set and its artifact hash.

    Raises:
        TslrecError: it is missing, damaged or inconsistent.
    """
    artifact = open_artifact(path, "dataset")
    arrays = load_arrays(artifact.path / "interactions.npz", ("indptr", "items"))
    histories, timestamps = Histories(arrays["indptr"], arrays["items"]), arrays.get("timestamps")
    try:
        item_ids, titles, fields = load_item_table(artifact.path / "items.tsv")
        users = load_lines(artifact.path / "users.txt")
        cold = ColdItems.load(artifact.path, len(users))
    except (OSError, ValueError, IndexError) as error:
        raise TslrecError(f"{path} can't be read as a data set: {error}; run tslrec prepare again") from None
    dataset = Dataset(histories, users, item_ids, titles, timestamps, fields, cold)
    try:
        check_length("indptr", as_offsets("indptr", histories.indptr, len(histories.items)), len(users) + 1, "user")
        check_range("items", as_int64("items", histories.items), 1, dataset.n_items)
    except ValueError as error:
        raise TslrecError(f"{path}: {error}; run tslrec prepare again") from None
    return dataset, artifact.hash
