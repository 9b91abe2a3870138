"""Inference with a trained recommender: final states of histories, and full ranking of targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..data.dataset import Evaluation, Histories
from ..data.seen import SeenItems
from ..errors import TslrecError
from ..ranking.ranks import Ranks, rank_targets
from ..runtime import distributed
from .batching import history_batch
from .models import SequentialRecommender

_EVALUATION_ITEMS = 1 << 15
"""Maximum number of history items in a batch."""


@torch.no_grad()
def final_states(recommender: SequentialRecommender, histories: Histories, users: np.ndarray, *,
                 device: torch.device, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the states after the users' last items, float32 [B, d], and the item table, float32 [I+1, d].

    Raises:
        TslrecError: they are not finite.
    """
    recommender.eval()
    table = recommender.item_table()
    lengths = np.minimum(histories.lengths[users], recommender.max_len)
    order = np.argsort(lengths, kind="stable")  # a batch has histories of about the same length
    states = np.empty((len(users), table.shape[1]), dtype=np.float32)
    size = max(1, _EVALUATION_ITEMS // recommender.max_len)
    for start in range(0, len(order), size):
        rows = order[start:start + size]
        batch = history_batch(histories.indptr, histories.items, users[rows], recommender.max_len, num_threads=threads)
        items, counts = (torch.from_numpy(part).to(device) for part in (batch.items, batch.lengths))
        states[rows] = recommender.backbone.final_states(items, counts, table).float().cpu().numpy()
    item_table = table.float().cpu().numpy()
    if not (np.isfinite(states).all() and np.isfinite(item_table).all()):
        raise TslrecError("the recommender's states or item table are not finite: its training diverged; train it "
                          "again with a lower --learning-rate")
    return states, item_table


def rank(recommender: SequentialRecommender, evaluation: Evaluation, protocols: Sequence[SeenItems | None], *,
         device: torch.device, threads: int = 1) -> list[Ranks]:
    """Return the ranks of all targets over the full catalogue; under torchrun each process ranks a part of them.

    Args:
        recommender: a trained model.
        evaluation: the targets.
        protocols: the items to leave out, for each of the rankings to return; None: no items.
        device: where the model is.
        threads: threads of the kernels.

    Raises:
        TslrecError: see `final_states`.
    """
    mine = distributed.share(np.arange(len(evaluation.users)))
    users, targets = evaluation.users[mine], evaluation.targets[mine]
    states, table = final_states(recommender, evaluation.histories, users, device=device, threads=threads)
    return [gathered_ranks(rank_targets(states, table, targets, seen, users=users, num_threads=threads), mine,
                           len(evaluation.users), device) for seen in protocols]


def gathered_ranks(ranks: Ranks, mine: np.ndarray, count: int, device: torch.device) -> Ranks:
    """Gather the ranks of all `count` targets from the processes; `mine`, int64 [n], is the share of this one."""
    return Ranks(*(distributed.gather_shares(counts, mine, count, device)
                   for counts in (ranks.greater, ranks.equal, ranks.n_candidates)))
