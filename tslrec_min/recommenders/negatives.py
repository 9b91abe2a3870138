"""The configured loss of a training step, with its negatives."""

from __future__ import annotations

import numpy as np
import torch

from ..configs import TrainConfig
from ..data.dataset import Histories
from ..data.seen import SeenItems
from ..errors import TslrecError
from .losses import binary_cross_entropy, full_softmax_loss, sampled_loss, sampled_softmax
from .sampling import AliasTable, sample_negatives, shared_negatives


class Objective:
    """What a training minimises."""

    def __init__(self, training: Histories, n_items: int, config: TrainConfig, device: torch.device,
                 threads: int) -> None:
        self.config, self.device, self.threads = config, device, threads
        self.log_weights: torch.Tensor | None = None
        if config.loss == "ce":
            return
        self.pair_loss = sampled_softmax if config.loss == "sampled" else binary_cross_entropy(
            config.negatives, n_items, config.calibration if config.loss == "gbce" else 0.0)
        self.own_negatives = config.sampling in ("uniform", "popularity")
        self.table = _proposal(training, n_items, config)
        if self.own_negatives:
            self.seen = SeenItems.from_histories(training.indptr, training.items, n_items)
        if config.loss == "sampled":
            log_q = np.maximum(self.table.log_probabilities, np.finfo(np.float32).min)
            self.log_weights = torch.from_numpy(-log_q.astype(np.float32)).to(device)
            drawable = self.table.unseen_probability(self.seen) if self.own_negatives else np.ones(len(training))
            with np.errstate(divide="ignore"):  # users without a possible negative are refused when drawing
                self.user_offsets = np.log(drawable / config.negatives).astype(np.float32)

    def __call__(self, states: torch.Tensor, item_table: torch.Tensor, targets: np.ndarray, users: np.ndarray,
                 positions: np.ndarray, batch_targets: np.ndarray, *, epoch: int, step: int) -> torch.Tensor:
        """Return the sum of the losses.

        A sampled softmax is corrected so that the sum over its negatives estimates that over all items that could be
        drawn: all items, without the user's own where negatives are drawn for each target.

        Args:
            states: float [M, d], at the targets.
            item_table: float [I+1, d].
            targets: int64 [M].
            users: int64 [M], of the targets.
            positions: int64 [M], of the targets in the flat training histories.
            batch_targets: int64, all targets of the batch, also those of other processes.
            epoch, step: their numbers in the training.

        Raises:
            TslrecError: a user has seen every item that could be a negative.
        """
        own = torch.from_numpy(targets).to(self.device)
        if self.config.loss == "ce":
            return full_softmax_loss(states, item_table, own)
        negatives = torch.from_numpy(self._negatives(users, positions, batch_targets, epoch, step)).to(self.device)
        offsets = None
        if self.log_weights is not None:
            offsets = torch.from_numpy(self.user_offsets[users]).to(self.device)
        return sampled_loss(states, item_table, own, negatives, self.pair_loss, self.log_weights, offsets)

    def _negatives(self, users: np.ndarray, positions: np.ndarray, batch_targets: np.ndarray, epoch: int, step: int
                   ) -> np.ndarray:
        """Return the negatives of each target, int64 [M, k], or of all of them, int64 [k]."""
        config = self.config
        if config.sampling == "shared":
            return shared_negatives(self.table, config.negatives, seed=config.seed, step=step)
        if config.sampling == "batch":
            drawn = np.random.default_rng((config.seed, step, 1)).integers(0, len(batch_targets), config.negatives)
            return batch_targets[drawn]
        try:
            return sample_negatives(self.seen, users, positions, config.negatives, seed=config.seed, epoch=epoch,
                                    table=self.table if config.sampling == "popularity" else None,
                                    num_threads=self.threads)
        except ValueError as error:
            raise TslrecError(f"{error}; or use --loss ce, which needs no negatives") from None


def _proposal(training: Histories, n_items: int, config: TrainConfig) -> AliasTable:
    """Return the distribution of the negatives, before seen items are left out."""
    if config.sampling in ("uniform", "shared"):
        return AliasTable.uniform(n_items)
    counts = np.bincount(training.items, minlength=n_items + 1)
    if config.sampling == "popularity":
        return AliasTable.from_counts(counts, config.popularity_exponent)
    if config.model != "bert4rec":  # a next-item model's targets are all items but each user's first
        counts -= np.bincount(training.items[training.indptr[:-1][np.diff(training.indptr) > 0]],
                              minlength=n_items + 1)
    return AliasTable.from_counts(counts, 1)
