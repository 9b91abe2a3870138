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
from ..ranking.ranks import Ranks
from ..ranking.scores import Scores
from ..recommenders.scorer import ColdColumns, Scorer, gathered_ranks, joined
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

    def rank(self, scores: Scores, columns: ColdColumns, chosen: np.ndarray, threads: int) -> dict[str, Ranks]:
        """Rank targets among all items and among the cold ones.

        Args:
            scores: of the warm items, n rows.
            columns: those of the cold items.
            chosen: int64 [n], the targets' indices.
            threads: threads of the ranking kernel.
        """
        candidates = {"all": columns.appended_to(scores), "cold": columns.alone(scores)}
        targets = {"all": self.asked.targets[chosen], "cold": self.asked.targets[chosen] - self.n_items}
        return {among: candidates[among].rank(targets[among], seen, users=chosen, num_threads=threads)
                for among, seen in self.seen.items()}

    def rank_by(self, scorer: Scorer, *, device: torch.device, threads: int) -> dict[str, Ranks] | None:
        """Rank all targets by a recommender; None if it can't score cold items."""
        if scorer.cold is None:
            return None
        users = self.asked.users
        mine = distributed.share(np.arange(len(users)))
        blocks = [self.rank(scores, scorer.cold, mine[part], threads) for part, scores in scorer.blocks(
            self.asked.histories, users[mine], threads=threads)]
        return {among: gathered_ranks(joined([block[among] for block in blocks]), mine, len(users), device)
                for among in self.seen}

    def report(self, runs: Mapping[str, Sequence[Artifact]], ranks: Mapping[str, Sequence[dict[str, Ranks] | None]],
               threads: int) -> dict[str, Any]:
        """Summarise what `rank_by` returned for the runs of every arm.

        Returns:
            ``users``, ``items``; ``random`` (expectation) and ``popularity``: metric -> value, for ``all`` and ``cold``
            items; ``arms``: for each its ``runs`` and, for ``all`` and ``cold``, metric -> mean, standard deviation and
            values of the runs; or the ``reason`` why there are none.
        """
        report: dict[str, Any] = {"users": len(self.asked.users), "items": self.n_cold}
        everyone = np.arange(len(self.asked.users))
        for name, scores in (("random", np.zeros(len(self.popularity))), ("popularity", self.popularity)):
            warm, cold = np.split(scores.astype(np.float32), [self.n_items + 1])
            warm_scores = Scores.without_vectors(len(everyone), self.n_items, warm)
            ranks_of = self.rank(warm_scores, ColdColumns.without_vectors(self.n_cold, cold), everyone, threads)
            report[name] = {among: {metric: float(metric_values(found, metric).mean()) for metric in COLD_METRICS}
                            for among, found in ranks_of.items()}
        return report | {"arms": {arm: _arm(runs[arm], ranks[arm]) for arm in runs}}


def _arm(runs: Sequence[Artifact], ranks: Sequence[dict[str, Ranks] | None]) -> dict[str, Any]:
    for run, found in zip(runs, ranks, strict=True):
        if found is None:
            adapter = run.config.get("adapter")
            return {"reason": f"{run.path.name}: " + (
                f"the adapter {adapter} has vectors for the items it was trained with alone" if adapter else
                "no part of the sum has vectors for other items than it was trained with")}
    return {"runs": [run.path.name for run in runs]} | {
        among: {metric: over_runs([float(metric_values(run[among], metric).mean()) for run in ranks if run])
                for metric in COLD_METRICS} for among in ("all", "cold")}
