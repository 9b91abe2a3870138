"""Inference with a trained network: the item table and the final states of histories."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from ..data.dataset import Histories
from ..errors import TslrecError
from ..ranking.scores import Scores
from .batching import history_batch
from .models import SequentialRecommender
from .scorer import ColdColumns, Scorer

_EVALUATION_ITEMS = 1 << 15
"""Maximum number of history items in a batch."""


@torch.no_grad()
def final_states(recommender: SequentialRecommender, histories: Histories, users: np.ndarray, *,
                 device: torch.device, threads: int = 1, table: torch.Tensor | None = None
                 ) -> tuple[np.ndarray, np.ndarray]:
    """Return the states after the users' last items, float32 [B, d], and the item table, float32 [I+1, d].

    Args:
        recommender: a trained model.
        histories: of all users.
        users: int64 [B].
        device: where the model is.
        threads: threads of the kernels.
        table: its item table, if it is known: an adapter's takes time.

    Raises:
        TslrecError: they are not finite.
    """
    recommender.eval()
    table = recommender.item_table() if table is None else table
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


class TrainedScorer(Scorer):
    """A sequential recommender: scores are states @ item table^T."""

    def __init__(self, recommender: SequentialRecommender, device: torch.device, cold_rows: np.ndarray | None = None
                 ) -> None:
        """Take a trained model that is on `device`, and the table rows of cold items, float32 [C, d].

        The item table is made once, so the weights may not change any more.
        """
        self.recommender, self.device = recommender, device
        self.cold = None if cold_rows is None else ColdColumns(cold_rows)

    @cached_property
    def _table(self) -> torch.Tensor:
        self.recommender.eval()
        with torch.no_grad():
            return self.recommender.item_table()

    def scores(self, histories: Histories, *, threads: int = 1) -> Scores:
        """Score what follows every history; raises TslrecError as `final_states`."""
        everyone = np.arange(len(histories))
        return Scores(*final_states(self.recommender, histories, everyone, device=self.device, threads=threads,
                                    table=self._table))
