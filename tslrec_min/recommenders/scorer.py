"""What every recommender is to the rest of the package: histories -> scores in one form, and their ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..data.dataset import Evaluation, Histories
from ..data.seen import SeenItems
from ..ranking.ranks import Ranks
from ..ranking.scores import Scores
from ..runtime import distributed

BLOCK_USERS = 1024
"""Users scored at once: enough that packing the item table takes little time compared with multiplying it, and few
enough for the memory of sparse rows, which may have most items."""


@dataclass(frozen=True, eq=False)
class ColdColumns:
    """The columns of items that no training has seen, behind those of the catalogue."""

    rows: np.ndarray
    """float32 [C, d]."""
    bias: np.ndarray | None = None
    """float32 [C]; None: 0."""

    @classmethod
    def without_vectors(cls, n_cold: int, bias: np.ndarray | None = None) -> ColdColumns:
        """Return the columns of C items for scores of width d = 0; `bias` is float32 [C], or None: 0."""
        return cls(np.zeros((n_cold, 0), np.float32), bias)

    def appended_to(self, scores: Scores) -> Scores:
        """Return the scores with C more items, which have no sparse part."""
        bias = scores.bias
        if bias is not None or self.bias is not None:
            parts = [(bias, scores.n_items + 1), (self.bias, len(self.rows))]
            bias = np.concatenate([np.zeros(n, np.float32) if part is None else part for part, n in parts])
        return Scores(scores.states, np.concatenate([scores.item_table, self.rows]), bias, scores.sparse)

    def alone(self, scores: Scores) -> Scores:
        """Return the scores of the C items alone, as items 1..C."""
        bias = None if self.bias is None else np.concatenate([np.zeros(1, np.float32), self.bias])
        return Scores(scores.states, np.concatenate([scores.item_table[:1], self.rows]), bias)


class Scorer(ABC):
    """A recommender that is ready to score."""

    cold: ColdColumns | None = None
    """The data set's cold items; None: it has none, or the recommender can't score them."""

    @abstractmethod
    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score what follows every history, float32; blocks of histories keep the memory of sparse rows small."""

    def blocks(self, histories: Histories, users: np.ndarray, *, threads: int = 1) -> Iterator[tuple[slice, Scores]]:
        """Yield slices of `users`, int64 [B], and the scores of these users' histories."""
        for start in range(0, len(users), BLOCK_USERS):
            part = slice(start, start + BLOCK_USERS)
            yield part, self.scores(histories.take(users[part]), threads=threads)


def rank(scorer: Scorer, evaluation: Evaluation, protocols: Sequence[SeenItems | None], *, device: torch.device,
         threads: int = 1, watch: Callable[[Scores, np.ndarray], None] | None = None) -> list[Ranks]:
    """Return the ranks of all targets over the full catalogue; under torchrun each process ranks a part of them.

    Args:
        scorer: the recommender.
        evaluation: the targets.
        protocols: the items to leave out, for each of the rankings to return; None: no items.
        device: where processes exchange their results.
        threads: threads of the kernels.
        watch: called with the scores of every block and its users, int64 [B], so that they are made only once.

    Raises:
        TslrecError: scores are not finite.
    """
    mine = distributed.share(np.arange(len(evaluation.users)))
    own = Evaluation(evaluation.histories, evaluation.users[mine], evaluation.targets[mine])
    return [gathered_ranks(ranks, mine, len(evaluation.users), device)
            for ranks in ranks_alone(scorer, own, protocols, threads=threads, watch=watch)]


def ranks_alone(scorer: Scorer, evaluation: Evaluation, protocols: Sequence[SeenItems | None], *, threads: int = 1,
                watch: Callable[[Scores, np.ndarray], None] | None = None) -> list[Ranks]:
    """Return the ranks of all targets, computed by this process alone.

    Other arguments and the errors are those of `rank`; `watch` is called with scores and their users, int64 [B].
    """
    users, targets = evaluation.users, evaluation.targets
    found: list[list[Ranks]] = [[] for _ in protocols]
    for part, scores in scorer.blocks(evaluation.histories, users, threads=threads):
        for of_protocol, seen in zip(found, protocols, strict=True):
            of_protocol.append(scores.rank(targets[part], seen, users=users[part], num_threads=threads))
        if watch:
            watch(scores, users[part])
    return [joined(parts) for parts in found]


def joined(parts: Sequence[Ranks]) -> Ranks:
    """Return the ranks of consecutive blocks of users as one."""
    empty = np.zeros(0, np.int64)
    return Ranks(*(np.concatenate([empty, *(getattr(part, count) for part in parts)])
                   for count in ("greater", "equal", "n_candidates")))


def gathered_ranks(ranks: Ranks, mine: np.ndarray, count: int, device: torch.device) -> Ranks:
    """Gather the ranks of all `count` targets from the processes; `mine`, int64 [n], is the share of this one."""
    return Ranks(*(distributed.gather_shares(counts, mine, count, device)
                   for counts in (ranks.greater, ranks.equal, ranks.n_candidates)))
