"""The items among which weights are fitted: the best ones of every part, for each user with a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.csr import offsets
from ...data.dataset import Evaluation
from ...data.seen import SeenItems
from ..scorer import Scorer
from .standardised import Moments, values_at

_BEST_ITEMS = 300
"""Items that all parts propose together for a user; of what a sum ranks highest hardly any is missing."""
_LEAST_BEST = 20


@dataclass(frozen=True)
class Candidates:
    """Unseen items that a part ranks high, by user, with the standardised scores of all parts."""

    indptr: np.ndarray
    """int64 [E+1]: user e has the entries indptr[e]..indptr[e+1]."""
    items: np.ndarray
    """int32 [N], rising for each user."""
    scores: np.ndarray
    """float32 [N, P]."""
    target: np.ndarray
    """int64 [E]: the entry of the user's target; -1 where no part proposes it."""


def candidates_of(parts: Sequence[Scorer], asked: Evaluation, seen: SeenItems, threads: int) -> Candidates:
    """Collect the candidates of the users with a target; row e of `seen` is that of the user asked.users[e]."""
    count = max(_BEST_ITEMS // len(parts), _LEAST_BEST)
    moments: list[Moments] = []
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    blocks = [part.blocks(asked.histories, asked.users, threads=threads) for part in parts]
    for block in zip(*blocks, strict=True):
        rows = block[0][0]
        scored = [scores for _, scores in block]
        users, n_items = asked.users[rows], scored[0].n_items
        moments = moments or [Moments(scores) for scores in scored]
        best = [scores.top_k(min(count, n_items), seen, users=users, num_threads=threads)[0]
                for scores in scored]
        keys = np.arange(len(users))[:, None] * (n_items + 1) + np.concatenate(best, axis=1)
        keys = np.unique(keys[keys % (n_items + 1) > 0])
        row, item = np.divmod(keys, n_items + 1)
        values = np.empty((len(keys), len(parts)), np.float32)
        for column, (scores, moment) in enumerate(zip(scored, moments, strict=True)):
            mean, deviation = moment.of(scores)
            values[:, column] = (values_at(scores, row, item) - mean[row]) / deviation[row]
        found.append((np.bincount(row, minlength=len(users)), item.astype(np.int32), values))
    counts, items, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    indptr = offsets(counts)
    owner = np.repeat(np.arange(len(counts)), counts)
    hit = np.flatnonzero(items == asked.targets[owner])
    target = np.full(len(counts), -1)
    target[owner[hit]] = hit
    return Candidates(indptr, items, scores, target)
