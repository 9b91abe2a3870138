"""What several test files build or ask alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tslrec_min.data.dataset import Dataset
from tslrec_min.ranking.ranks import Ranks

N_ITEMS = 23


def random_runs(n_users: int, n_runs: int, seed: int) -> list[Ranks]:
    random = np.random.default_rng(seed)
    return [Ranks(random.integers(0, 18, n_users), random.choice([0, 0, 0, 1, 3], n_users), np.full(n_users, N_ITEMS))
            for _ in range(n_runs)]


def random_ranks(dataset: Dataset, runs_of: Mapping[str, int], seed: int = 1) -> dict[str, dict[str, list[Ranks]]]:
    n_users = len(dataset.evaluation("test").users)
    return {protocol: {arm: random_runs(n_users, n_runs, hash_of(protocol, arm, seed))
                       for arm, n_runs in runs_of.items()} for protocol in ("filtered", "unfiltered")}


def hash_of(protocol: str, arm: str, seed: int) -> int:
    return sum(map(ord, protocol + arm)) + 1000 * seed
