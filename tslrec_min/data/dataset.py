"""The data set artifact: user histories as CSR, string ids, titles and further texts, and the split.

Leave-one-out as in SASRec (Kang and McAuley, 2018): in every history of at least three items the last item is
the test target, the one before it the validation target, and the rest is training data. Shorter histories are training
data only.

Temporal, after "Time to Split" (Gusak et al., RecSys 2025, arXiv 2507.16289; there global temporal split, target Last,
validation by time): two times cut all histories. Interactions before the first are training data. A user's validation
target is the last interaction between the two, the test target the last one from the second on; the history is
everything before the target. docs/method.md says why the last one.

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
from .csr import offsets
from .histories import Evaluation, Histories
from .interaction_rows import lines_of_split
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
    """int64 or float64 [N], times of ``histories.items``; None if only the order is known."""
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Name of a further column of the items file -> its texts, [I]; may be blank."""
    cold: ColdItems | None = None
    """Items held out of training, and their targets; they are not among the I items above."""
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
        """Return the training histories, without validation and test targets and anything from the first cut on."""
        return self.before("validation")

    def before(self, split: str) -> Histories:
        """Return what may be learned before a split's targets are ranked: none of them, nothing from its cut on.

        With the temporal split that is less than the histories of `evaluation`, which reach up to each user's target:
        a model must not learn from one user what others do later.
        """
        return self.histories.first(self._known(split)[1] if self.cuts is None
                                    else self._before(self.cuts[SPLITS.index(split)]))

    def evaluation(self, split: str) -> Evaluation:
        """Return the targets of a split, ``validation`` or ``test``.

        As usual, the histories for ``test`` include the validation target. Those of users without a target end where
        the split begins.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        users, known = self._known(split)
        targets = self.histories.items[self.histories.indptr[users] + known[users]].astype(np.int64)
        return Evaluation(self.histories.first(known), users, targets)

    def _known(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the users with a target, int64 [E], and the length of every history before it, int64 [U]."""
        lengths = self.histories.lengths
        if self.cuts is None:
            users = np.flatnonzero(lengths >= _SHORTEST_SPLIT_HISTORY)
            lengths[users] -= 2 if split == "validation" else 1
            return users, lengths
        known = self._before(self.cuts[SPLITS.index(split)])
        end = self._before(self.cuts[1]) if split == "validation" else lengths
        users = np.flatnonzero((end > known) & (end > 1))
        known[users] = end[users] - 1
        return users, known

    def _before(self, time: float) -> np.ndarray:
        """Return how many interactions every user has before a time, int64 [U]."""
        assert self.timestamps is not None  # `cuts` come from them
        return np.diff(offsets(self.timestamps < time)[self.histories.indptr])

    def within_training(self) -> Evaluation:
        """Return the last item of every training history of at least three items as a target.

        For stages that need validation targets but must not depend on validation or test items.
        """
        training = self.training()
        known = training.lengths
        users = np.flatnonzero(known >= _SHORTEST_SPLIT_HISTORY)
        known[users] -= 1
        targets = training.items[training.indptr[users] + known[users]].astype(np.int64)
        return Evaluation(training.first(known), users, targets)

    def with_cold_items(self) -> Dataset:
        """Return the data set with the cold items in its catalogue: cold item c becomes item I + c, in no history."""
        if self.cold is None:
            return self
        return replace(self, item_ids=[*self.item_ids, *self.cold.item_ids], titles=[*self.titles, *self.cold.titles],
                       fields={name: [*texts, *self.cold.fields[name]] for name, texts in self.fields.items()},
                       cold=None)

    def cold_evaluation(self) -> Evaluation:
        """Return the cold targets, ids I+1..I+C as in `with_cold_items`, with the histories before them.

        Raises:
            ValueError: the data set has no cold items.
        """
        if self.cold is None:
            raise ValueError("the data set has no cold items")
        known = self.histories.lengths
        known[self.cold.users] = self.cold.warm_before
        return Evaluation(self.histories.first(known), self.cold.users, self.cold.targets + self.n_items)

    def catalogue_hash(self) -> str:
        """Return the hash of the item ids in order, which item embeddings must match."""
        return sha256_of_json(list(self.item_ids))

    def split_hash(self) -> str:
        """Return the hash of the split in external ids: of every user's ordered history and its parts."""
        ends = np.stack([*map(self._before, self.cuts or ()), self.histories.lengths], axis=1)
        digest, names = hashlib.sha256(), [item.replace(" ", "\0") for item in self.item_ids]  # no id has a NUL
        for lines in lines_of_split(self.user_ids, names, self.histories.indptr, self.histories.items, ends):
            digest.update(lines)
        return digest.hexdigest()

    def statistics(self) -> dict[str, float | int | str]:
        """Return sizes, density, lengths of histories and the split's hash."""
        n_rows = len(self.histories.items)
        figures: dict[str, float | int | str] = {
            "users": self.n_users, "items": self.n_items, "interactions": n_rows,
            "density": n_rows / (self.n_users * self.n_items), "mean_length": n_rows / self.n_users,
            "median_length": float(np.median(self.histories.lengths)),
            "blank_titles": sum(not title for title in self.titles),
            "split": "leave-one-out" if self.cuts is None else "temporal", "split_hash": self.split_hash(),
        }
        if self.timestamps is not None:
            figures |= {"first_time": self.timestamps.min().item(), "last_time": self.timestamps.max().item()}
        if self.cuts:
            figures |= {"validation_from": self.cuts[0], "test_from": self.cuts[1]}
            figures |= {f"{split}_users": len(self._known(split)[0]) for split in SPLITS}
            figures["training_interactions"] = int(self._before(self.cuts[0]).sum())
        if self.cold:
            figures |= {"cold_items": self.cold.n_items, "cold_users": len(self.cold.users),
                        "cold_interactions": self.cold.n_interactions}
        return figures

    def save(self, folder: Path) -> None:
        """Write interactions.npz, items.tsv and users.txt into `folder`, and cold items by `ColdItems.save`."""
        arrays = {"indptr": self.histories.indptr, "items": self.histories.items}
        if self.timestamps is not None:
            arrays["timestamps"] = self.timestamps
        if self.cuts is not None and self.timestamps is not None:
            arrays["cuts"] = np.array(self.cuts, self.timestamps.dtype)
        np.savez(folder / "interactions.npz", **arrays)  # type: ignore[arg-type]
        save_item_table(folder / "items.tsv", self.item_ids, self.titles, self.fields)
        (folder / "users.txt").write_text("\n".join([*self.user_ids, ""]), encoding="utf-8")
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
        items = as_int64("items", arrays["items"])
        check_range("items", items, 1, len(item_ids))
        indptr = as_offsets("indptr", arrays["indptr"], len(items))
        check_length("indptr", indptr, len(users) + 1, "user")
        if timestamps is not None:
            _check_times("timestamps", timestamps)
            check_length("timestamps", timestamps, len(items), "interaction")
        cuts = None
        if "cuts" in arrays:
            _check_times("cuts", arrays["cuts"])
            cuts = tuple(arrays["cuts"].tolist())
            if timestamps is None or len(cuts) != 2 or not cuts[0] < cuts[1]:
                raise ValueError(f"cuts are {cuts}; expected two rising times, and timestamps")
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise TslrecError(f"{path} can't be read as a data set: {error}; run tslrec prepare again") from None
    histories = Histories(indptr, items.astype(np.int32, copy=False))  # whatever integers the file has
    return Dataset(histories, users, item_ids, titles, timestamps, fields, cold, cuts), artifact.hash


def _check_times(name: str, times: np.ndarray) -> None:
    if times.ndim != 1 or times.dtype.kind not in "if" or not np.isfinite(times).all():
        raise ValueError(f"{name} are {times.dtype} of shape {times.shape}; expected finite numbers of one dimension")
