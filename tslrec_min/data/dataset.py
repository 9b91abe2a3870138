"""The data set artifact: user histories as CSR, string ids, titles and further texts, and the split.

Leave-one-out as in SASRec (Kang and McAuley, 2018): of every history of at least three items the last item is
the test target, the one before it the validation target, the rest is for training. Shorter histories are for
training only.

Temporal, after "Time to Split" (Gusak et al., RecSys 2025, arXiv 2507.16289; there global temporal split, target Last,
validation by time): two times cut all histories alike. What is before the first is for training. A user's validation
target is the last interaction between the two, the test target the last one from the second on; the history is all that
the user had before the target. docs/method.md says why the last one.

Internal item ids are 1..I, 0 is padding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import TslrecError
from ..runtime.validation import as_int64, as_offsets, check_length, check_range
from ..storage.arrays import load_arrays
from ..storage.artifacts import open_artifact, sha256_of_json
from .cold import ColdItems
from .histories import Evaluation, Histories
from .item_table import load_item_table, load_lines, save_item_table

SPLITS = ("validation", "test")
_SHORTEST_SPLIT_HISTORY = 3


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
    cuts: tuple[float, float] | None = None
    """Times at which the validation and the test period begin, for the temporal split; None: leave-one-out."""

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Number of users U."""
        return len(self.user_ids)

    def training(self) -> Histories:
        """Return the training histories: no validation or test target is in them, and nothing from the first cut on."""
        return self.histories.first(self._asked("validation")[1] if self.cuts is None else self._before(self.cuts[0]))

    def evaluation(self, split: str) -> Evaluation:
        """Return the targets of a split, ``validation`` or ``test``.

        The histories for ``test`` hold the validation target, as is usual. Those of users without a target end where
        the split begins.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        users, known = self._asked(split)
        targets = self.histories.items[self.histories.indptr[users] + known[users]].astype(np.int64)
        return Evaluation(self.histories.first(known), users, targets)

    def _asked(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the users with a target, int64 [E], and how much of each history is known then, int64 [U]."""
        lengths = np.diff(self.histories.indptr)
        if self.cuts is None:
            users = np.flatnonzero(lengths >= _SHORTEST_SPLIT_HISTORY)
            known = lengths.copy()
            known[users] -= 2 if split == "validation" else 1
            return users, known
        known = self._before(self.cuts[SPLITS.index(split)])
        end = self._before(self.cuts[1]) if split == "validation" else lengths
        users = np.flatnonzero((end > known) & (end > 1))
        known[users] = end[users] - 1
        return users, known

    def _before(self, time: float) -> np.ndarray:
        """Return how many interactions every user has before a time, int64 [U]."""
        assert self.timestamps is not None  # `cuts` come from them
        so_far = np.concatenate([[0], np.cumsum(self.timestamps < time)])
        return np.diff(so_far[self.histories.indptr])

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

    def catalogue_hash(self) -> str:
        """Hash of the item ids in row order: what item embeddings must agree with."""
        return sha256_of_json(list(self.item_ids))

    def split_hash(self) -> str:
        """Hash of the split in external ids: equal exactly if every user's ordered history and its parts are equal."""
        lengths = np.diff(self.histories.indptr)
        parts = [lengths] if self.cuts is None else [*map(self._before, self.cuts), lengths]
        ends = np.stack(parts, axis=1).tolist()
        digest, names = hashlib.sha256(), ("", *(item.replace(" ", "\0") for item in self.item_ids))  # no id has a NUL
        for user, user_id in enumerate(self.user_ids):
            items = [names[item] for item in self.histories.of(user).tolist()]
            starts = [0, *ends[user]]
            texts = [" ".join(items[start:end]) for start, end in zip(starts, ends[user], strict=False)]
            digest.update("\t".join([user_id, *texts]).encode() + b"\n")
        return digest.hexdigest()

    def statistics(self) -> dict[str, float | int | str]:
        """Return the figures by which data sets are compared."""
        n_rows, lengths = len(self.histories.items), np.diff(self.histories.indptr)
        figures: dict[str, float | int | str] = {
            "users": self.n_users, "items": self.n_items, "interactions": n_rows,
            "density": n_rows / (self.n_users * self.n_items), "mean_length": n_rows / self.n_users,
            "median_length": float(np.median(lengths)), "blank_titles": sum(not title for title in self.titles),
            "split": "leave-one-out" if self.cuts is None else "temporal", "split_hash": self.split_hash(),
        }
        if self.timestamps is not None:
            figures |= {"first_time": self.timestamps.min().item(), "last_time": self.timestamps.max().item()}
        if self.cuts:
            figures |= {"validation_from": self.cuts[0], "test_from": self.cuts[1]}
            figures |= {f"{split}_users": len(self._asked(split)[0]) for split in SPLITS}
            figures["training_interactions"] = int(self._before(self.cuts[0]).sum())
        if self.cold:
            figures |= {"cold_items": self.cold.n_items, "cold_users": len(self.cold.users),
                        "cold_interactions": self.cold.n_interactions}
        return figures

    def save(self, folder: Path) -> None:
        """Write interactions.npz, items.tsv and users.txt into `folder`, and what `ColdItems.save` writes."""
        arrays = {"indptr": self.histories.indptr, "items": self.histories.items}
        if self.timestamps is not None:
            arrays["timestamps"] = self.timestamps
        if self.cuts is not None and self.timestamps is not None:
            arrays["cuts"] = np.array(self.cuts, self.timestamps.dtype)
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
    timestamps = arrays.get("timestamps")
    try:
        item_ids, titles, fields = load_item_table(artifact.path / "items.tsv")
        users = load_lines(artifact.path / "users.txt")
        cold = ColdItems.load(artifact.path, len(users))
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise TslrecError(f"{path} can't be read as a data set: {error}; run tslrec prepare again") from None
    cuts = tuple(arrays["cuts"].reshape(-1).tolist()) if "cuts" in arrays else None
    try:
        items = as_int64("items", arrays["items"])
        check_range("items", items, 1, len(item_ids))
        indptr = as_offsets("indptr", arrays["indptr"], len(items))
        check_length("indptr", indptr, len(users) + 1, "user")
        if timestamps is not None:
            _check_times("timestamps", timestamps)
            check_length("timestamps", timestamps, len(items), "interaction")
        if cuts is not None:
            _check_times("cuts", arrays["cuts"])
            if timestamps is None or len(cuts) != 2 or not cuts[0] < cuts[1]:
                raise ValueError(f"cuts are {cuts}; expected two rising times, and timestamps")
    except ValueError as error:
        raise TslrecError(f"{path}: {error}; run tslrec prepare again") from None
    histories = Histories(indptr, items.astype(np.int32, copy=False))  # whatever integers the file has
    return Dataset(histories, users, item_ids, titles, timestamps, fields, cold, cuts), artifact.hash


def _check_times(name: str, times: np.ndarray) -> None:
    if times.ndim != 1 or times.dtype.kind not in "if" or not np.isfinite(times).all():
        raise ValueError(f"{name} are {times.dtype} of shape {times.shape}; expected finite numbers of one dimension")
