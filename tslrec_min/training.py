"""Training of sequential recommenders; on a CPU repeatable for a seed and a number of torch threads.

Every epoch cuts the training histories into windows at a new random phase, so that each next-item target is
learned from exactly once an epoch, with as much context as the model reads. Early stopping on validation
NDCG@10, ranked over the full catalogue with seen items left out; the best weights are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .batching import history_batch, next_item_batch, next_item_windows
from .configs import TrainConfig
from .data.dataset import Evaluation, Histories
from .errors import TslrecError
from .losses import full_softmax_cross_entropy
from .metrics import metric_values
from .models import SequentialRecommender
from .ranking import Ranks, rank_targets
from .sampling import SeenItems

_WARMUP_STEPS = 50
_CLIP_NORM = 5.0
_EVALUATION_BATCH = 512


@dataclass
class TrainingLog:
    """What happened, epoch by epoch."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    """loss, validation_ndcg@10 and validation_hr@10 of every epoch."""
    best_epoch: int = 0
    """The epoch whose weights are kept, from 1."""

    def as_json(self) -> dict[str, Any]:
        """Return the contents of metrics.json."""
        return {"best_epoch": self.best_epoch, "epochs": self.epochs} | self.epochs[self.best_epoch - 1]


def resolve_device(name: str) -> torch.device:
    """Return a torch device.

    Raises:
        TslrecError: it is unknown or this machine lacks it.
    """
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise TslrecError(f"--device {name} can't be used: {str(error).splitlines()[0]}; try --device cpu") from None
    return torch.device(name)


def train_recommender(recommender: SequentialRecommender, training: Histories, validation: Evaluation,
                      config: TrainConfig, *, device: torch.device, threads: int = 1, label: str = "train"
                      ) -> TrainingLog:
    """Train in place and leave the best weights in `recommender`.

    Args:
        recommender: freshly built; moved to `device`.
        training: histories to learn from.
        validation: targets for early stopping.
        config: optimisation settings.
        device: where to train.
        threads: threads of the kernels; results don't depend on it.
        label: text of the progress bar.

    Raises:
        TslrecError: there is nothing to learn from or to validate on, or the loss is not finite.
    """
    if not len(validation.users) or np.diff(training.indptr).max(initial=0) < 2:
        raise TslrecError("training needs users with at least 2 items to learn from and a target to validate on; the "
                          "data set has none: its histories are too short")
    recommender.to(device)
    optimiser = torch.optim.AdamW(recommender.parameters(), lr=config.learning_rate,
                                  weight_decay=config.weight_decay, betas=(0.9, 0.98))
    random = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    log, steps = TrainingLog(), 0
    best: dict[str, torch.Tensor] = {}
    progress = tqdm(range(1, config.epochs + 1), desc=label, unit="epoch", disable=None)
    for epoch in progress:
        losses = _train_epoch(recommender, optimiser, training, config, random, device, threads, steps)
        steps += len(losses)
        ranks = rank(recommender, validation, device=device, threads=threads)
        scores = {name: float(metric_values(ranks, name).mean()) for name in ("ndcg@10", "hr@10")}
        log.epochs.append({"loss": float(np.mean(losses))} | {f"validation_{k}": v for k, v in scores.items()})
        if not best or scores["ndcg@10"] > log.epochs[log.best_epoch - 1]["validation_ndcg@10"]:
            log.best_epoch = epoch
            best = {name: tensor.detach().clone() for name, tensor in recommender.state_dict().items()}
        progress.set_postfix(loss=f"{np.mean(losses):.3f}", ndcg10=f"{scores['ndcg@10']:.4f}",
                             best=f"{log.epochs[log.best_epoch - 1]['validation_ndcg@10']:.4f}")
        if epoch - log.best_epoch >= config.patience:
            break
    progress.close()
    recommender.load_state_dict(best)
    return log


def _train_epoch(recommender: SequentialRecommender, optimiser: torch.optim.Optimizer, training: Histories,
                 config: TrainConfig, random: np.random.Generator, device: torch.device, threads: int,
                 steps: int) -> list[float]:
    """Run one epoch after `steps` steps; return the loss of every step."""
    recommender.train()
    phases = random.integers(0, config.max_len, len(training))
    windows = next_item_windows(training.indptr, config.max_len, phases)
    order = random.permutation(len(windows.row_start))
    losses: list[float] = []
    for start in range(0, len(order), config.batch_size):
        inputs, targets = (torch.from_numpy(array).to(device) for array in next_item_batch(
            training.items, windows, order[start:start + config.batch_size], config.max_len, num_threads=threads))
        table = recommender.item_table()
        loss = full_softmax_cross_entropy(recommender(inputs, table), table, targets)
        if not torch.isfinite(loss):
            raise TslrecError(f"the training loss became {loss.item()}; lower --learning-rate")
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (steps + len(losses) + 1) / _WARMUP_STEPS)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(recommender.parameters(), _CLIP_NORM)
        optimiser.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def final_states(recommender: SequentialRecommender, histories: Histories, users: np.ndarray, *,
                 device: torch.device, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the states after the users' last items, float32 [B, d], and the item table, float32 [I+1, d].

    Raises:
        TslrecError: the model's numbers are not finite.
    """
    recommender.eval()
    table = recommender.item_table()
    max_len = recommender.backbone.positions.shape[0]
    states = []
    for start in range(0, len(users), _EVALUATION_BATCH):
        inputs = history_batch(histories.indptr, histories.items, users[start:start + _EVALUATION_BATCH], max_len,
                               num_threads=threads)
        states.append(recommender(torch.from_numpy(inputs).to(device), table)[:, -1].float().cpu().numpy())
    found, item_table = np.concatenate(states), table.float().cpu().numpy()
    if not (np.isfinite(found).all() and np.isfinite(item_table).all()):
        raise TslrecError("the recommender's states or item table are not finite: its training diverged; train it "
                          "again with a lower --learning-rate")
    return found, item_table


def rank(recommender: SequentialRecommender, evaluation: Evaluation, *, device: torch.device, threads: int = 1
         ) -> Ranks:
    """Rank every target over the full catalogue, the items of the user's history left out.

    Args:
        recommender: a trained model.
        evaluation: the targets.
        device: where the model is.
        threads: threads of the ranking kernel.

    Raises:
        TslrecError: the model's numbers are not finite.
    """
    states, table = final_states(recommender, evaluation.histories, evaluation.users, device=device, threads=threads)
    return rank_states(states, table, evaluation, filter_seen=True, threads=threads)


def rank_states(states: np.ndarray, item_table: np.ndarray, evaluation: Evaluation, *, filter_seen: bool,
                threads: int = 1) -> Ranks:
    """Rank every target by `final_states`, float32 [E, d] and [I+1, d], with or without the items of the history."""
    histories = evaluation.histories
    seen = SeenItems.from_histories(histories.indptr, histories.items, len(item_table) - 1) if filter_seen else None
    return rank_targets(states, item_table, evaluation.targets, seen, users=evaluation.users, num_threads=threads)
