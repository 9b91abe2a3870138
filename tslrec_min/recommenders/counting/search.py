"""The choice of a recommender's few constants by validation NDCG@10."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...data.dataset import Evaluation, Histories
from ...ranking.metrics import metric_values
from ...ranking.scores import Scores

_USERS = 4096
"""Users whose validation targets decide; more cost time and change little."""
_ROUNDS = 2

Constants = dict[str, float]


def sampled(evaluation: Evaluation, count: int = _USERS) -> Evaluation:
    """Return at most `count` of the targets, evenly spread over the users."""
    chosen = np.unique(np.linspace(0, len(evaluation.users) - 1, min(count, len(evaluation.users))).astype(np.int64))
    users = evaluation.users[chosen]
    return Evaluation(evaluation.histories.take(users), np.arange(len(users)), evaluation.targets[chosen])


def chosen_constants(grid: Mapping[str, Sequence[float]],
                     scores: Callable[[Constants, Histories], Scores], validation: Evaluation, n_items: int,
                     threads: int) -> tuple[Constants, float]:
    """Choose constants one after the other, each given the others, until none changes or `_ROUNDS` are over.

    Args:
        grid: the values to try of each constant; the first ones are where the search begins.
        scores: the recommender's scores, given constants and histories.
        validation: targets; a sample of them is ranked without seen items.
        n_items: number of items I.
        threads: threads of the kernels.

    Returns:
        The constants and their validation NDCG@10 on the sample. Of equally good ones the first tried is kept.
    """
    asked = sampled(validation)
    seen = asked.seen(n_items)
    tried: dict[tuple[float, ...], float] = {}

    def value(constants: Constants) -> float:
        key = tuple(constants.values())
        if key not in tried:
            ranks = scores(constants, asked.histories).rank(asked.targets, seen, num_threads=threads)
            tried[key] = float(metric_values(ranks, "ndcg@10").mean())
        return tried[key]

    best = {name: values[0] for name, values in grid.items()}
    for _ in range(_ROUNDS):
        before = dict(best)
        for name, values in grid.items():
            for candidate in values:
                if value(changed := best | {name: candidate}) > value(best):
                    best = changed
        if best == before:
            break
    return best, value(best)
