"""Training of sequential recommenders; on a CPU repeatable for a seed and a number of torch threads.

Every epoch cuts long training histories into windows at new random places, so that each training target is used once
per epoch, with as much context as the model can read. Training stops early on validation NDCG@10, ranked over the full
catalogue without seen items; the best weights are kept.

No random state runs through the training: windows and batches of an epoch follow from (seed, epoch), negatives from
(seed, epoch, target), dropout from (seed, step, place). So a checkpoint needs only the weights, the optimiser and the
progress, and a resumed training ends with the same weights. Under torchrun each process takes its rows of every batch;
the gradient is the sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..configs import TrainConfig
from ..data.dataset import Evaluation, Histories
from ..errors import TslrecError
from ..ranking.metrics import metric_values
from ..runtime import distributed
from ..runtime.progress import note, progress, step
from ..storage.checkpoints import Checkpointing
from ..storage.resumable import ResumableTraining
from .adapters import build_adapter
from .adapters.controls import controlled
from .batching import Batch, Windows, cloze_batch, length_parts, next_item_batch, next_item_windows, window_phases
from .inference import TrainedScorer
from .models import SequentialRecommender, build_recommender
from .models.dropout import set_dropout
from .negatives import Objective
from .scorer import rank


class TrainingRun(ResumableTraining):
    """The training of a recommender; `losses` are those of the current epoch."""

    def __init__(self, recommender: SequentialRecommender, training: Histories, config: TrainConfig,
                 device: torch.device, threads: int) -> None:
        parameters = [parameter for parameter in recommender.parameters() if parameter.requires_grad]
        by_item = recommender.adapter.item_parameters()
        others = [parameter for parameter in parameters if all(parameter is not own for own in by_item)]
        super().__init__(recommender, parameters, [{"params": by_item, "weight_decay": config.table_decay},
                                                   {"params": others}], config.seed, device,
                         weight_decay=config.weight_decay, betas=(0.9, 0.98))
        self.recommender, self.training, self.config, self.threads = recommender, training, config, threads
        self.n_items = len(recommender.item_table()) - 1
        self.objective = Objective(training, self.n_items, config, device, threads)
        self.epochs: list[dict[str, float]] = []  # loss, validation_ndcg@10 and validation_hr@10 of each
        self.best_epoch = 0  # from 1
        self.steps_per_epoch = len(self.plan(1)[1])

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 1."""
        return len(self.epochs) + 1

    @property
    def step_number(self) -> int:
        """Number of the current step, from 0."""
        return (self.epoch - 1) * self.steps_per_epoch + len(self.losses)

    @property
    def best_score(self) -> float:
        """Best validation NDCG@10 so far."""
        return self.epochs[self.best_epoch - 1]["validation_ndcg@10"]

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or `patience` of them brought no improvement."""
        done = len(self.epochs)
        return done >= self.config.epochs or done - self.best_epoch >= self.config.patience

    def plan(self, epoch: int) -> tuple[Windows, list[np.ndarray]]:
        """Return the windows of an epoch, and those of each batch, int64 [B]."""
        random = np.random.default_rng((self.config.seed, epoch, 0))
        phases = window_phases(self.training.indptr, self.config.max_len, random)
        windows = next_item_windows(self.training.indptr, self.config.max_len, phases)
        order, size = random.permutation(len(windows)), self.config.batch_size
        return windows, [order[start:start + size] for start in range(0, len(order), size)]

    def train_epoch(self, checkpointing: Checkpointing | None) -> None:
        """Take the remaining steps of the epoch."""
        self.recommender.train()
        windows, batches = self.plan(self.epoch)
        for chosen in batches[len(self.losses):]:
            self.learn(windows, chosen)
            self.save(checkpointing)

    def learn(self, windows: Windows, chosen: np.ndarray) -> None:
        """Learn from one batch: the windows `chosen`, int64 [B]."""
        config, number = self.config, self.step_number
        lengths = np.minimum(windows.input_stop[chosen] - windows.row_start[chosen], config.max_len)
        if self.device.type != "cpu":  # dropout is torch's there
            self.seed_step(number)
        table = self.recommender.item_table()
        packs = config.precision != "bf16" and self.recommender.backbone.packs(table)
        cut = [np.arange(len(chosen))] if packs else length_parts(lengths)  # packed, nothing is padding
        parts = [(rows, self._batch(windows, chosen[rows])) for rows in cut]
        batch_targets = np.concatenate([part.targets[part.targets > 0] for _, part in parts])
        loss = torch.zeros((), device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            read = [self._part(windows, chosen, distributed.share(rows), part, table, packs)
                    for rows, part in parts if distributed.rank() < len(rows)]
            if read:
                states, targets, users, positions = zip(*read, strict=True)
                loss = self.objective(torch.cat(states), table, np.concatenate(targets), np.concatenate(users),
                                      np.concatenate(positions), batch_targets, epoch=self.epoch, step=number)
                loss = loss / len(batch_targets)
        self.optimiser.zero_grad(set_to_none=True)
        if read:  # a batch may have fewer rows than there are processes
            loss.backward()
        rate = learning_rate(config, number, config.epochs * self.steps_per_epoch)
        self.update(loss.detach().reshape(1), config.clip_norm, [rate, rate])

    def _part(self, windows: Windows, chosen: np.ndarray, rows: np.ndarray, part: Batch, table: torch.Tensor,
              packs: bool) -> tuple[torch.Tensor, np.ndarray, np.ndarray, np.ndarray]:
        """Read this process's rows of a part of the batch.

        Args:
            windows, chosen: see `learn`.
            rows: int64 [P], this process's rows of the batch that are in the part.
            part: the part, with the rows of other processes.
            table: float [I+1, d].
            packs: whether to read the rows without padding.

        Returns:
            The states at the targets, float [M, d]; the targets, their users and their positions in the flat
            histories, int64 [M].
        """
        set_dropout(self.recommender, self.config.seed, self.step_number, rows)
        items, targets, lengths = (distributed.share(array) for array in (part.items, part.targets, part.lengths))
        backbone, places = self.recommender.backbone, np.nonzero(targets)
        if packs:
            states = backbone.packed_states(torch.from_numpy(items[items > 0]), lengths, table)
            flat = (np.cumsum(lengths) - lengths)[places[0]] + places[1]
        else:
            states = backbone(torch.from_numpy(np.ascontiguousarray(items)).to(self.device),
                              torch.from_numpy(lengths.copy()).to(self.device), table).flatten(0, 1)
            flat = places[0] * targets.shape[1] + places[1]
        if len(flat) < len(states):
            states = states.index_select(0, torch.from_numpy(flat).to(self.device))
        own = chosen[rows[places[0]]]
        positions = windows.input_stop[own] + 1 - lengths[places[0]] + places[1]
        return states, targets[places], windows.users[own], positions

    def _batch(self, windows: Windows, chosen: np.ndarray) -> Batch:
        config = self.config
        if self.recommender.backbone.objective == "next":
            return next_item_batch(self.training.items, windows, chosen, config.max_len, num_threads=self.threads)
        return cloze_batch(self.training.items, windows, chosen, config.max_len, mask=self.n_items + 1,
                           probability=config.mask_probability, last_probability=config.mask_last, seed=config.seed,
                           epoch=self.epoch, num_threads=self.threads)

    def end_epoch(self, scores: dict[str, float]) -> None:
        """Record the epoch and its validation metrics; keep its weights if they are best.

        Args:
            scores: metric -> value, ``ndcg@10`` among them; empty without validation, where no weights are best.
        """
        # Processes on different processors may differ in the last bits: all use the first one's figures.
        values = distributed.of_first_process([float(np.mean(self.losses)), *scores.values()], self.device)
        figures = dict(zip(("loss", *(f"validation_{name}" for name in scores)), values, strict=True))
        better = bool(scores) and (not self.best or figures["validation_ndcg@10"] > self.best_score)
        self.epochs.append(figures)
        self.losses = []
        if better:
            self.best_epoch = len(self.epochs)
            self.keep(self.recommender.state_dict().items())

    def place(self) -> tuple[int, int]:
        """Return the number of full epochs, and of steps since."""
        return len(self.epochs), len(self.losses)

    def progress(self) -> dict[str, Any]:
        """Return the figures of the epochs, and the losses of the current one."""
        return {"log": {"epochs": self.epochs, "best_epoch": self.best_epoch}, "losses": self.losses}

    def restore(self, progress: dict[str, Any]) -> None:
        """Restore what `progress` returned."""
        self.epochs, self.best_epoch = progress["log"]["epochs"], progress["log"]["best_epoch"]
        self.losses = progress["losses"]


def learning_rate(config: TrainConfig, number: int, n_steps: int) -> float:
    """Return the learning rate of step `number`, from 0, of the `n_steps` of all epochs."""
    warm = min(1.0, (number + 1) / max(config.warmup_steps, 1))
    left = 1 - number / n_steps
    falling = {"none": 1.0, "linear": left, "cosine": 0.5 * (1 - np.cos(np.pi * left))}[config.decay]
    return float(config.learning_rate * warm * falling)


def ended_rising(best_epoch: int, epochs: int, decay: str) -> bool:
    """Return whether the last epoch was the best one, and not because the learning rate fell to 0 there."""
    return best_epoch == epochs > 1 and decay == "none"


def trained(n_items: int, training: Histories, validation: Evaluation, config: TrainConfig,
            embeddings: np.ndarray | None, device: torch.device, threads: int, label: str = "train",
            checkpointing: Checkpointing | None = None, *, until: int | None = None
            ) -> tuple[SequentialRecommender, dict[str, Any]]:
    """Build a recommender and train it, in memory.

    Args:
        n_items: I.
        training: histories to learn from.
        validation: targets for early stopping.
        config: model, adapter and training settings.
        embeddings: float32 [I+1, D] for the adapter, row 0 zeros; None for the adapter ``none``. The control
            that `config` names takes their place.
        device: where to train.
        threads: threads of the kernels; results don't depend on it.
        label: text of the progress bar; empty: none is shown.
        checkpointing: where to save the state while training, and to resume an interrupted one; None: nowhere.
        until: pause after this epoch, at least 1; with the same `checkpointing` the training can be continued.

    Returns:
        The recommender with its best weights, and the contents of metrics.json.

    Raises:
        TslrecError: there is nothing to learn from or to validate on, the embeddings do not fit the adapter, or the
            loss is not finite.
    """
    if not len(validation.users) or training.lengths.max(initial=0) < 2:
        raise TslrecError("training needs users with at least 2 items to learn from and a target to validate on; the "
                          "data set has none: its histories are too short")
    run = _begun(n_items, training, config, embeddings, device, threads, checkpointing)
    seen = validation.seen(n_items)
    with progress(config.epochs, label, "epoch", initial=len(run.epochs), shown=bool(label)) as bar:
        while not run.finished and len(run.epochs) < (until or config.epochs):
            run.train_epoch(checkpointing)
            ranks, = rank(TrainedScorer(run.recommender, device), validation, [seen], device=device, threads=threads)
            run.end_epoch({name: float(metric_values(ranks, name).mean()) for name in ("ndcg@10", "hr@10")})
            run.save(checkpointing, always=True)
            loss, score = run.epochs[-1]["loss"], run.epochs[-1]["validation_ndcg@10"]
            bar.set_postfix(loss=f"{loss:.3f}", best=f"{run.best_score:.4f}", ndcg10=f"{score:.4f}")
            bar.update()
            step(f"{label or 'training'}: epoch {len(run.epochs)} of at most {config.epochs}, loss {loss:.3f}, "
                 f"validation NDCG@10 {score:.4f}")
    if ended_rising(run.best_epoch, config.epochs, config.decay) and not (checkpointing and checkpointing.quiet):
        note(f"{checkpointing.out if checkpointing else label or 'training'}: the last of {config.epochs} epochs was "
             "the best one; more epochs may improve the result")
    run.recommender.load_state_dict(run.best)
    return run.recommender, {"best_epoch": run.best_epoch, "epochs": run.epochs} | run.epochs[run.best_epoch - 1]


def refitted(n_items: int, training: Histories, config: TrainConfig, embeddings: np.ndarray | None, epochs: int,
             device: torch.device, threads: int, label: str = "refit", checkpointing: Checkpointing | None = None
             ) -> tuple[SequentialRecommender, list[float]]:
    """Build a recommender and train it for exactly `epochs` epochs, without validation.

    The learning rate decays as planned for `config.epochs`, so that it ends where it was after the epoch that early
    stopping found best, not at 0.

    Args:
        n_items, config, embeddings, device, threads, label, checkpointing: see `trained`.
        training: histories to learn from, longer than those of `trained`.
        epochs: number of epochs.

    Returns:
        The recommender with its last weights, and the mean loss of every epoch.

    Raises:
        TslrecError: see `trained`.
    """
    run = _begun(n_items, training, config, embeddings, device, threads, checkpointing)
    with progress(epochs, label, "epoch", initial=len(run.epochs), shown=bool(label)) as bar:
        while len(run.epochs) < epochs:
            run.train_epoch(checkpointing)
            run.end_epoch({})
            run.save(checkpointing, always=True)
            loss = run.epochs[-1]["loss"]
            bar.set_postfix(loss=f"{loss:.3f}")
            bar.update()
            step(f"{label or 'refit'}: epoch {len(run.epochs)} of {epochs}, loss {loss:.3f}")
    return run.recommender, [figures["loss"] for figures in run.epochs]


def _begun(n_items: int, training: Histories, config: TrainConfig, embeddings: np.ndarray | None,
           device: torch.device, threads: int, checkpointing: Checkpointing | None) -> TrainingRun:
    """Return a training at its beginning, or where it was interrupted."""
    torch.manual_seed(config.seed)
    if embeddings is not None:
        embeddings = controlled(embeddings, config.control, config.seed)
    step(f"building {config.model} with the adapter {config.adapter}")
    recommender = build_recommender(build_adapter(config, n_items, embeddings, training), config).to(device)
    run = TrainingRun(recommender, training, config, device, threads)
    run.resume(checkpointing)
    return run
