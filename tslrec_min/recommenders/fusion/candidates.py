"""The items among which weights are fitted: the best ones of every part, for each user with a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.csr import offsets, owners
from ...data.dataset import Evaluation
from ...data.seen import SeenItems
from ..scorer import Scorer
from .standardised import Standardised, values_at

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
    """Collect the candidates of all targets, at least one.

    Args:
        parts: the recommenders.
        asked: the targets.
        seen: the items of all histories of `asked`, which are no candidates. A target that its user has seen is one,
            as in `ranking.ranks.rank_targets`.
        threads: threads of the kernels.
    """
    count, seen = max(_BEST_ITEMS // len(parts), _LEAST_BEST), _without_targets(seen, asked)
    scales = [Standardised(part) for part in parts]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    blocks = [part.blocks(asked.histories, asked.users, threads=threads) for part in parts]
    for block in zip(*blocks, strict=True):
        scored = [scale.of(scores) for scale, (_, scores) in zip(scales, block, strict=True)]
        users, n_items = asked.users[block[0][0]], scored[0].n_items
        best = [scores.top_k(min(count, n_items), seen, users=users, num_threads=threads)[0] for scores in scored]
        keys = np.arange(len(users))[:, None] * (n_items + 1) + np.concatenate(best, axis=1)
        row, item = np.divmod(np.unique(keys[keys % (n_items + 1) > 0]), n_items + 1)
        values = np.column_stack([values_at(scores, row, item) for scores in scored]).astype(np.float32)
        found.append((np.bincount(row, minlength=len(users)), item.astype(np.int32), values))
    counts, items, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    indptr = offsets(counts)
    owner = owners(counts)
    hit = np.flatnonzero(items == asked.targets[owner])
    target = np.full(len(counts), -1)
    target[owner[hit]] = hit
    return Candidates(indptr, items, scores, target)


def _without_targets(seen: SeenItems, asked: Evaluation) -> SeenItems:
    """Return the seen items without the targets."""
    targets = np.zeros(len(seen.indptr) - 1, np.int64)
    targets[asked.users] = asked.targets
    rows = owners(np.diff(seen.indptr))
    others = seen.items != targets[rows]
    return SeenItems(offsets(np.bincount(rows[others], minlength=len(targets))), seen.items[others], seen.n_items)
