"""What several test files build or ask alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from tslrec_min.evaluation.summary import UserGroups
from tslrec_min.ranking.ranks import Ranks

ARMS = ("ids_only", r"50% & more | *x* \y", "gru #4 {z} <a> ~^$")
N_USERS = 80


def parts(arms: tuple[str, ...] = ARMS) -> tuple[dict[str, Any], UserGroups]:
    """Ranks of arms that get better one by one, with ties, and groups."""
    random = np.random.default_rng(0)
    groups = UserGroups(random.integers(1, 300, N_USERS), random.integers(1, 20, N_USERS), random.random(N_USERS) < 0.4)
    ranks: dict[str, Any] = {}
    for protocol in ("filtered", "unfiltered"):
        for place, arm in enumerate(arms):
            ranks.setdefault(protocol, {})[arm] = [
                Ranks(random.integers(0, 40, N_USERS) // (1 + place), random.choice([0, 0, 1], N_USERS),
                      np.full(N_USERS, 300)) for _ in range(3 - place)]
    return ranks, groups
