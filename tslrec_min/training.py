"""Training of sequential recommenders; on a CPU repeatable for a seed and a number of torch threads.

Every epoch cuts long training histories into windows at new random places, so that each training target is learned
from once an epoch, with as much context as the model reads. Early stopping on validation NDCG@10, ranked over the full
catalogue with seen items left out; the best weights are kept.

Nothing random has a state that runs through the training: windows and batches of an epoch follow from (seed, epoch),
negatives from (seed, epoch, target), dropout from (seed, step, place). So a checkpoint needs no more than the weights,
the optimiser and where it stands, and a resumed training ends with the weights of an uninterrupted one. (Dropout on
another device than a CPU is torch's, whose state is in the checkpoint.) Under torchrun each process takes its rows of
every batch; the gradient is the sum.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from . import distributed
from .batching import (
    Batch,
    BatchBuffers,
    Windows,
    bucketed,
    cloze_batch,
    history_batch,
    next_item_batch,
    next_item_windows,
    window_phases,
)
from .checkpoints import load_checkpoint, save_checkpoint
from .configs import TrainConfig
from .data.dataset import Evaluation, Histories
from .errors import TslrecError
from .losses import binary_cross_entropy, full_softmax_loss, sampled_loss, sampled_softmax
from .metrics import metric_values
from .models import SequentialRecommender
from .models.dropout import set_dropout_step
from .ranking import Ranks, rank_targets
from .sampling import AliasTable, SeenItems, sample_negatives, shared_negatives

_EVALUATION_TOKENS = 1 << 15
"""Items of the histories that are read at once."""


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


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often a training's state is saved."""

    path: Path
    """A file; a state of the same recipe in it is taken up."""
    recipe: str
    """Hash of everything that decides the outcome."""
    seconds: float = 60.0
    """Least time between two checkpoints; the end of an epoch is one always."""


def train_recommender(recommender: SequentialRecommender, training: Histories, validation: Evaluation,
                      config: TrainConfig, *, device: torch.device, threads: int = 1, label: str = "train",
                      checkpointing: Checkpointing | None = None) -> TrainingLog:
    """Train in place and leave the best weights in `recommender`.

    Args:
        recommender: freshly built; moved to `device`.
        training: histories to learn from.
        validation: targets for early stopping.
        config: optimisation settings.
        device: where to train.
        threads: threads of the kernels; results don't depend on it.
        label: text of the progress bar.
        checkpointing: where to save the state while training, and to take up an interrupted one; None: nowhere.

    Raises:
        TslrecError: there is nothing to learn from or to validate on, or the loss is not finite.
    """
    if not len(validation.users) or np.diff(training.indptr).max(initial=0) < 2:
        raise TslrecError("training needs users with at least 2 items to learn from and a target to validate on; the "
                          "data set has none: its histories are too short")
    recommender.to(device)
    torch.manual_seed(config.seed)
    run = TrainingRun(recommender, training, config, device, threads)
    seen = validation.seen(run.n_items)
    if checkpointing:
        run.take_up(checkpointing)
    progress = tqdm(range(config.epochs), desc=label, unit="epoch", initial=len(run.log.epochs), disable=None)
    while not run.finished:
        run.train_epoch(checkpointing)
        states, table = final_states(recommender, validation.histories, validation.users, device=device,
                                     threads=threads)
        ranks = rank_states(states, table, validation, seen=seen, threads=threads)
        run.end_epoch({name: float(metric_values(ranks, name).mean()) for name in ("ndcg@10", "hr@10")})
        if checkpointing:
            run.save(checkpointing)
        progress.set_postfix(loss=f"{run.log.epochs[-1]['loss']:.3f}", best=f"{run.best_score:.4f}",
                             ndcg10=f"{run.log.epochs[-1]['validation_ndcg@10']:.4f}")
        progress.update()
    progress.close()
    recommender.load_state_dict(run.best)
    return run.log


class TrainingRun:
    """A training as far as it has come."""

    def __init__(self, recommender: SequentialRecommender, training: Histories, config: TrainConfig,
                 device: torch.device, threads: int) -> None:
        self.recommender, self.training, self.config = recommender, training, config
        self.device, self.threads = device, threads
        self.n_items = len(recommender.item_table()) - 1
        self.parameters = [parameter for parameter in recommender.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=0.0, weight_decay=config.weight_decay,
                                           betas=(0.9, 0.98), fused=True)
        self.buffers = BatchBuffers(config.batch_size, config.max_len)
        self.loss = _Loss(training, self.n_items, config, threads)
        self.log = TrainingLog()
        self.best: dict[str, torch.Tensor] = {}
        self.losses: list[float] = []
        """Of the steps of the epoch that is under way."""
        self.steps_per_epoch = len(self.plan(1)[1])
        self._saved = time.monotonic()

    @property
    def epoch(self) -> int:
        """Number of the epoch that is under way, from 1."""
        return len(self.log.epochs) + 1

    @property
    def best_score(self) -> float:
        """Best validation NDCG@10 so far."""
        return self.log.epochs[self.log.best_epoch - 1]["validation_ndcg@10"]

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many brought nothing better."""
        done = len(self.log.epochs)
        return done >= self.config.epochs or done - self.log.best_epoch >= self.config.patience

    def plan(self, epoch: int) -> tuple[Windows, list[np.ndarray]]:
        """Return an epoch's windows, and which of them make each batch."""
        random = np.random.default_rng((self.config.seed, epoch))
        phases = window_phases(self.training.indptr, self.config.max_len, random)
        windows = next_item_windows(self.training.indptr, self.config.max_len, phases)
        lengths = np.minimum(windows.input_stop - windows.row_start, self.config.max_len)
        return windows, bucketed(lengths, self.config.batch_size, random)

    def train_epoch(self, checkpointing: Checkpointing | None) -> None:
        """Take the steps that are left of the epoch."""
        self.recommender.train()
        windows, batches = self.plan(self.epoch)
        for chosen in batches[len(self.losses):]:
            self.step(windows, chosen)
            if checkpointing and time.monotonic() - self._saved > checkpointing.seconds:
                self.save(checkpointing)

    def step(self, windows: Windows, chosen: np.ndarray) -> None:
        """Learn from one batch: the windows `chosen`, int64 [B]."""
        config, step = self.config, (self.epoch - 1) * self.steps_per_epoch + len(self.losses)
        batch = self._batch(windows, chosen)
        mine = distributed.share(len(chosen))
        set_dropout_step(self.recommender, config.seed, step, mine.start)
        places = np.nonzero(batch.targets)
        positions = (windows.input_stop[chosen] + 1 - batch.lengths)[places[0]] + places[1]  # in the flat histories
        ours = (places[0] >= mine.start) & (places[0] < mine.stop)
        targets = batch.targets[places]
        items, lengths = (torch.from_numpy(rows[mine]).to(self.device) for rows in (batch.items, batch.lengths))
        table = self.recommender.item_table()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            states = self.recommender.backbone(items, lengths, table).flatten(0, 1)
            flat = (places[0][ours] - mine.start) * batch.items.shape[1] + places[1][ours]
            # A copy of the rows that count: fewer numbers go through the loss.
            wanted = states.index_select(0, torch.from_numpy(flat).to(self.device))
            loss = self.loss(wanted, table, targets, ours, windows.users[chosen][places[0]], positions,
                             epoch=self.epoch, step=step) / len(targets)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        total = loss.detach().reshape(1)
        distributed.sum_over_processes([total, *(_gradient(parameter) for parameter in self.parameters)])
        if not torch.isfinite(total):
            raise TslrecError(f"the training loss became {total.item()}; lower --learning-rate")
        torch.nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, step, config.epochs * self.steps_per_epoch)
        self.optimiser.step()
        self.losses.append(total.item())

    def _batch(self, windows: Windows, chosen: np.ndarray) -> Batch:
        config = self.config
        if self.recommender.backbone.objective == "next":
            return next_item_batch(self.training.items, windows, chosen, config.max_len, buffers=self.buffers,
                                   num_threads=self.threads)
        return cloze_batch(self.training.items, windows, chosen, config.max_len, mask=self.n_items + 1,
                           probability=config.mask_probability, last_probability=config.mask_last, seed=config.seed,
                           epoch=self.epoch, buffers=self.buffers, num_threads=self.threads)

    def end_epoch(self, scores: dict[str, float]) -> None:
        """Account for the epoch that was trained, and keep its weights if they are the best."""
        number = self.epoch
        better = not self.best or scores["ndcg@10"] > self.best_score
        self.log.epochs.append({"loss": float(np.mean(self.losses))} | {
            f"validation_{name}": value for name, value in scores.items()})
        self.losses = []
        if better:
            self.log.best_epoch = number
            self.best = {name: tensor.detach().clone() for name, tensor in self.recommender.state_dict().items()}

    def save(self, checkpointing: Checkpointing) -> None:
        """Write the state to disk."""
        if distributed.rank() == 0:
            save_checkpoint(checkpointing.path, self.recommender, self.optimiser, self.best, {
                "recipe": checkpointing.recipe, "log": asdict(self.log), "losses": self.losses})
        self._saved = time.monotonic()

    def take_up(self, checkpointing: Checkpointing) -> None:
        """Continue a training of the same recipe."""
        found = load_checkpoint(checkpointing.path, checkpointing.recipe, self.recommender, self.optimiser)
        if found:
            self.best, self.losses = found.best, found.progress["losses"]
            self.log = TrainingLog(**found.progress["log"])
            tqdm.write(f"going on after {len(self.log.epochs)} epochs and {len(self.losses)} steps of an interrupted "
                       "training")


class _Loss:
    """The configured loss, and the negatives that it takes."""

    def __init__(self, training: Histories, n_items: int, config: TrainConfig, threads: int) -> None:
        self.config, self.threads = config, threads
        if config.loss == "ce":
            return
        self.pair_loss = sampled_softmax if config.loss == "sampled" else binary_cross_entropy(
            config.negatives, n_items, config.calibration if config.loss == "gbce" else 0.0)
        self.seen = SeenItems.from_histories(training.indptr, training.items, n_items)
        self.table = AliasTable.uniform(n_items)
        if config.sampling in ("popularity", "batch"):
            counts = np.bincount(training.items, minlength=n_items + 1)
            self.table = AliasTable.from_counts(counts, 1 if config.sampling == "batch" else config.popularity_exponent)

    def __call__(self, states: torch.Tensor, table: torch.Tensor, targets: np.ndarray, ours: np.ndarray,
                 users: np.ndarray, positions: np.ndarray, *, epoch: int, step: int) -> torch.Tensor:
        """Return the sum of the losses of this process's targets.

        Args:
            states: float [M', d], at the targets of this process.
            table: float [I+1, d].
            targets: int64 [M], of the whole batch.
            ours: bool [M], which of them are this process's.
            users: int64 [M], whose.
            positions: int64 [M], where they are in the flat training histories.
            epoch: number of the epoch.
            step: number of the step.
        """
        own = torch.from_numpy(targets[ours]).to(states.device)
        if self.config.loss == "ce":
            return full_softmax_loss(states, table, own)
        negatives = torch.from_numpy(self._negatives(targets, users[ours], positions[ours], epoch, step))
        weights, offsets = (None if part is None else torch.from_numpy(part.astype(np.float32)).to(states.device)
                            for part in self._corrections(users[ours]))
        return sampled_loss(states, table, own, negatives.to(states.device), self.pair_loss, weights, offsets)

    def _negatives(self, targets: np.ndarray, users: np.ndarray, positions: np.ndarray, epoch: int, step: int
                   ) -> np.ndarray:
        """Return the negatives of each target, int64 [M', k], or of all of them, int64 [k]."""
        config = self.config
        if config.sampling == "batch":
            return targets[np.random.default_rng((config.seed, step)).integers(0, len(targets), config.negatives)]
        if config.sampling == "shared":
            return shared_negatives(self.table, config.negatives, seed=config.seed, epoch=epoch, step=step)
        try:
            return sample_negatives(self.seen, users, positions, config.negatives, seed=config.seed, epoch=epoch,
                                    table=self.table if config.sampling == "popularity" else None,
                                    num_threads=self.threads)
        except ValueError as error:
            raise TslrecError(f"{error}; or use --loss ce, which needs no negatives") from None

    def _corrections(self, users: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return what makes a sampled softmax estimate the full one: log-weights [I+1] and offsets [M'].

        With them the negatives' sum estimates that over the items that can be drawn: all but the user's own where
        negatives are drawn for each target, else all. Binary losses take none.
        """
        if self.config.loss != "sampled":
            return None, None
        drawable = np.ones(len(users)) if self.config.sampling in ("batch", "shared") else self._unseen[users]
        with np.errstate(divide="ignore"):  # nothing unseen to draw: refused before it comes to this
            offsets = np.log(drawable / self.config.negatives)
        return -np.maximum(self.table.log_probabilities, np.finfo(np.float32).min), offsets

    @cached_property
    def _unseen(self) -> np.ndarray:
        """Probability that an item drawn from the table is none of the user's, float64 [U]."""
        return self.table.unseen_probability(self.seen)


def learning_rate(config: TrainConfig, step: int, n_steps: int) -> float:
    """Return the learning rate of a step, from 0, of the `n_steps` of all epochs."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    left = 1 - step / n_steps
    falling = {"none": 1.0, "linear": left, "cosine": 0.5 * (1 - np.cos(np.pi * left))}[config.decay]
    return float(config.learning_rate * warm * falling)


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    """Return a parameter's gradient; where none came, zeros that will be it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


@torch.no_grad()
def final_states(recommender: SequentialRecommender, histories: Histories, users: np.ndarray, *,
                 device: torch.device, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the states after the users' last items, float32 [B, d], and the item table, float32 [I+1, d].

    Under torchrun the users are divided, and every process gets all states.

    Raises:
        TslrecError: the model's numbers are not finite.
    """
    recommender.eval()
    table = recommender.item_table()
    lengths = np.minimum(np.diff(histories.indptr)[users], recommender.max_len)
    order = np.argsort(lengths, kind="stable")  # histories of about the same length are read together
    mine = order[distributed.share(len(order))]
    found = np.empty((len(mine), table.shape[1]), dtype=np.float32)
    size = max(1, _EVALUATION_TOKENS // recommender.max_len)
    for start in range(0, len(mine), size):
        rows = slice(start, start + size)
        batch = history_batch(histories.indptr, histories.items, users[mine[rows]], recommender.max_len,
                              num_threads=threads)
        items, counts = (torch.from_numpy(part).to(device) for part in (batch.items, batch.lengths))
        found[rows] = recommender.backbone.final_states(items, counts, table).float().cpu().numpy()
    states = np.empty((len(users), table.shape[1]), dtype=np.float32)
    states[order] = distributed.gather_rows(found, len(users), device)
    item_table = table.float().cpu().numpy()
    if not (np.isfinite(states).all() and np.isfinite(item_table).all()):
        raise TslrecError("the recommender's states or item table are not finite: its training diverged; train it "
                          "again with a lower --learning-rate")
    return states, item_table


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
    return rank_states(states, table, evaluation, seen=evaluation.seen(len(table) - 1), threads=threads)


def rank_states(states: np.ndarray, item_table: np.ndarray, evaluation: Evaluation, *, seen: SeenItems | None,
                threads: int = 1) -> Ranks:
    """Rank every target by `final_states`, float32 [E, d] and [I+1, d], without the `seen` items of the users."""
    return rank_targets(states, item_table, evaluation.targets, seen, users=evaluation.users, num_threads=threads)

