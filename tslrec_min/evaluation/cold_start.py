"""Cold start: ranks of items that no training has seen, scored by the rows that an adapter makes of their embeddings.

Every user's cold target (`data.cold`) is ranked twice: among ``all`` items, warm and cold, and among the ``cold`` items
only. The items of the user's earlier history are left out of both, and ties are counted as in `ranking`. Two baselines
need no model: a random order, and popularity, in which all cold items share the last place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..data.csr import offsets, owners
from ..data.dataset import Dataset
from ..data.seen import SeenItems
from ..ranking.metrics import COLD_METRICS, metric_values
from ..ranking.ranks import Ranks, rank_targets
from ..recommenders.artifact import load_cold_rows
from ..recommenders.inference import final_states, gathered_ranks
from ..recommenders.models import SequentialRecommender
from ..runtime import distributed
from ..storage.artifacts import Artifact
from .summary import over_runs


class ColdTargets:
    """The cold targets of a data set, the items that are left out when each is ranked, and their ranks."""

    def __init__(self, dataset: Dataset) -> None:
        cold = dataset.cold
        if cold is None:
            raise ValueError("the data set has no cold items")
        self.asked = dataset.cold_evaluation()
        self.n_items, self.n_cold = dataset.n_items, cold.n_items
        self.popularity = np.bincount(dataset.training().items, minlength=self.n_items + self.n_cold + 1)
        warm = self.asked.histories.take(cold.users)
        rows = np.concatenate([owners(np.diff(cold.indptr)), owners(warm.lengths)])
        items = np.concatenate([cold.earlier + self.n_items, warm.items])
        order = np.argsort(rows, kind="stable")
        indptr = offsets(np.bincount(rows, minlength=len(cold.users)))
        self.seen = {"all": SeenItems.from_histories(indptr, items[order], self.n_items + self.n_cold),
                     "cold": SeenItems.from_histories(cold.indptr, cold.earlier, self.n_cold)}
        """Items to leave out of each ranking; row e belongs to the e-th user with a target."""

    def rank(self, states: np.ndarray, table: np.ndarray, cold_rows: np.ndarray, chosen: np.ndarray, threads: int
             ) -> dict[str, Ranks]:
        """Rank targets among all items and among the cold ones.

        Args:
            states: float32 or float64 [n, d].
            table: of the same dtype [I+1, d]; row 0 is padding.
            cold_rows: of the same dtype [C, d].
            chosen: int64 [n], the targets' indices.
            threads: threads of the ranking kernel.
        """
        tables = {"all": np.concatenate([table, cold_rows]), "cold": np.concatenate([table[:1], cold_rows])}
        targets = {"all": self.asked.targets[chosen], "cold": self.asked.targets[chosen] - self.n_items}
        return {among: rank_targets(states, tables[among], targets[among], seen, users=chosen, num_threads=threads)
                for among, seen in self.seen.items()}

    def rank_by_run(self, run: Artifact, recommender: SequentialRecommender, *, device: torch.device, threads: int
                    ) -> dict[str, Ranks] | None:
        """Rank all targets by a train artifact, given its recommender; None if it has no rows for cold items.

        Raises:
            TslrecError: the artifact's rows of cold items don't fit the data set.
        """
        cold_rows = load_cold_rows(run, self.n_cold)
        if cold_rows is None:
            return None
        users = self.asked.users
        mine = distributed.share(np.arange(len(users)))
        states, table = final_states(recommender, self.asked.histories, users[mine], device=device, threads=threads)
        return {among: gathered_ranks(ranks, mine, len(users), device)
                for among, ranks in self.rank(states, table, cold_rows, mine, threads).items()}

    def report(self, runs: Mapping[str, Sequence[Artifact]], ranks: Mapping[str, Sequence[dict[str, Ranks] | None]],
               threads: int) -> dict[str, Any]:
        """Summarise what `rank_by_run` returned for the runs of every arm.

        Returns:
            ``users``, ``items``; ``random`` (expectation) and ``popularity``: metric -> value, for ``all`` and ``cold``
            items; ``arms``: for each its ``runs`` and, for ``all`` and ``cold``, metric -> mean, standard deviation and
            values of the runs; or the ``reason`` why there are none.
        """
        report: dict[str, Any] = {"users": len(self.asked.users), "items": self.n_cold}
        everyone = np.arange(len(self.asked.users))
        for name, scores in (("random", np.zeros(len(self.popularity))), ("popularity", self.popularity)):
            table = scores.astype(np.float64)[:, None]  # a row is its score, as all states are 1
            ranks_of = self.rank(np.ones((len(everyone), 1)), table[:self.n_items + 1], table[self.n_items + 1:],
                                 everyone, threads)
            report[name] = {among: {metric: float(metric_values(found, metric).mean()) for metric in COLD_METRICS}
                            for among, found in ranks_of.items()}
        return report | {"arms": {arm: _arm(runs[arm], ranks[arm]) for arm in runs}}


def _arm(runs: Sequence[Artifact], ranks: Sequence[dict[str, Ranks] | None]) -> dict[str, Any]:
    for run, found in zip(runs, ranks, strict=True):
        if found is None:
            return {"reason": f"{run.path.name}: the adapter {run.config['adapter']} has vectors for the items it was "
                              "trained with alone"}
    return {"runs": [run.path.name for run in runs]} | {
        among: {metric: over_runs([float(metric_values(run[among], metric).mean()) for run in ranks if run])
                for metric in COLD_METRICS} for among in ("all", "cold")}
