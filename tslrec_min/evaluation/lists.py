"""The lists that runs recommend to the evaluated users, and their figures beyond accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.dataset import Dataset
from ..data.seen import SeenItems
from ..item_vectors.formats import ids_beside
from ..item_vectors.load import ItemEmbeddings, load_item_embeddings
from ..ranking.beyond_accuracy import ListStatistics
from ..ranking.scores import Scores
from ..runtime import distributed
from .summary import BEYOND_ACCURACY, over_runs

LIST_LENGTH = 10


def load_list_vectors(path: Path, dataset: Dataset) -> ItemEmbeddings:
    """Read item vectors for the distance of a list's items, see `load_item_embeddings`; of an .npy file, the ids are in
    the file beside it, as ``tslrec export`` writes them.
    """
    return load_item_embeddings(path, dataset, ids_path=ids_beside(path) if path.suffix == ".npy" else None)


class RecommendedLists:
    """The best items of every user by one run, without those of the history; only their statistics are kept."""

    def __init__(self, dataset: Dataset, seen: SeenItems, vectors: np.ndarray | None, threads: int) -> None:
        """Begin without lists; `seen` has the items to leave out, and `vectors`, float32 [I+1, D], are optional."""
        training = np.bincount(dataset.training().items, minlength=dataset.n_items + 1)
        self._statistics, self._seen, self._threads = ListStatistics(training, vectors), seen, threads

    def add(self, scores: Scores, users: np.ndarray) -> None:
        """Add the lists of users, int64 [B], given their scores."""
        self._statistics.add(scores.top_k(LIST_LENGTH, self._seen, users=users, num_threads=self._threads)[0])

    def figures(self, device: torch.device) -> dict[str, float]:
        """Return the figures of the lists of all processes, such as ``coverage@10``; none if no list has an item."""
        totals = torch.from_numpy(self._statistics.totals).to(device)
        distributed.sum_over_processes([totals])
        self._statistics.totals[:] = totals.cpu().numpy()
        if not totals.any():  # everybody has seen everything
            return {}
        return {f"{name}@{LIST_LENGTH}": value for name, value in self._statistics.figures().items()}


def figures_of_arms(report: Mapping[str, Any], figures: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Return the arms of a report with the figures of their lists.

    Args:
        report: see `summary.report_of`.
        figures: arm -> the figures of each of its runs.

    Returns:
        Arm -> its summary and, as ``beyond_accuracy``, figure -> mean, standard deviation and values of the runs.
    """
    return {arm: summary | {BEYOND_ACCURACY: {name: over_runs([run[name] for run in figures[arm]])
                                              for name in figures[arm][0]}}
            for arm, summary in report["arms"].items()}
