"""Seconds of training until SASRec reaches an NDCG@10, ours beside RecBole 1.2.1's.

MovieLens-100K, 5-core, leave-one-out, the same histories for both; width 64, 2 blocks of 2 heads, 50 items read, the
full softmax. RecBole trains with its defaults (Adam, learning rate 1e-3, dropout 0.5, one history a target) but for the
batch, 256 histories instead of 2048: an eighth of the steps an epoch would take it more epochs. We train with ours.
After every epoch the validation targets are ranked by the same code from the states and the item table of either, over
the whole catalogue, seen items kept (RecBole's protocol). Only the training of the epochs is counted: neither the
preparation nor the scoring. A run of ours and one of RecBole's take turns, with a new seed each time. CPU seconds are
those of all threads together; with OMP_WAIT_POLICY=passive, where threads don't spin, a busy machine changes them less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _data import real_dataset

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Dataset, Evaluation
from tslrec_min.ranking.metrics import metric_values
from tslrec_min.ranking.ranks import rank_targets
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.inference import final_states
from tslrec_min.recommenders.models import build_recommender
from tslrec_min.recommenders.training import TrainingRun

TARGET = 0.050
LEAST_RATIO = 5
"""Validation NDCG@10 to reach, and how many times sooner than RecBole."""
_MOST_EPOCHS = 100


@dataclass
class Run:
    """What one training took, epoch by epoch."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    ndcg: list[float] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether the last epoch reached the target."""
        return bool(self.ndcg) and self.ndcg[-1] >= TARGET

    def add(self, took: tuple[float, float], states: np.ndarray, item_table: np.ndarray,
            validation: Evaluation) -> None:
        """Score an epoch that took so many seconds and CPU seconds."""
        ranks = rank_targets(states, item_table, validation.targets, None)
        self.seconds.append(took[0])
        self.cpu_seconds.append(took[1])
        self.ndcg.append(float(metric_values(ranks, "ndcg@10").mean()))


def our_run(dataset: Dataset, config: TrainConfig, threads: int) -> Run:
    """Train until the target is reached."""
    run, validation, cpu = Run(), dataset.evaluation("validation"), torch.device("cpu")
    torch.manual_seed(config.seed)
    recommender = build_recommender(build_adapter(config, dataset.n_items, None, dataset.training()),
                                    config)
    trainer = TrainingRun(recommender, dataset.training(), config, cpu, threads)
    while not run.reached and not trainer.finished:
        started, cpu_started = time.perf_counter(), time.process_time()
        trainer.train_epoch(None)
        took = time.perf_counter() - started, time.process_time() - cpu_started
        states, item_table = final_states(recommender, validation.histories, validation.users, device=cpu)
        run.add(took, states, item_table, validation)
        trainer.end_epoch({"ndcg@10": run.ndcg[-1]})
    return run


def recbole_run(python: str, dataset: Dataset, settings: dict[str, Any]) -> Run:
    """Train RecBole's SASRec in its own environment, one epoch at a time, until the target is reached."""
    run, validation = Run(), dataset.evaluation("validation")
    n_targets = int(np.maximum(np.diff(dataset.training().indptr) - 1, 0).sum())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "interactions.npz", indptr=dataset.histories.indptr, items=dataset.histories.items,
                 users=validation.users)
        script = Path(__file__).with_name("recbole_training.py").resolve()
        worker = subprocess.Popen([python, str(script), name, json.dumps(settings)], cwd=name, text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert worker.stdin and worker.stdout
        rows = json.loads(worker.stdout.readline() or "{}").get("training_rows")
        if rows != n_targets:
            raise SystemExit(f"RecBole has {rows} training rows for {n_targets} targets; its messages are above")
        while not run.reached and len(run.ndcg) < _MOST_EPOCHS:
            print("next", file=worker.stdin, flush=True)
            found = json.loads(worker.stdout.readline())
            with np.load(folder / "states.npz", allow_pickle=False) as file:
                run.add((found["seconds"], found["cpu_seconds"]), file["states"], file["item_table"], validation)
        worker.communicate()
    return run


def row_of(name: str, runs: list[Run]) -> tuple[str, ...]:
    """Lay out the medians over the runs; a run that stopped short counts with all its seconds and is told."""
    missed = sum(not run.reached for run in runs)
    return (name + (f" ({missed} of {len(runs)} runs fell short)" if missed else ""),
            f"{statistics.median(sum(run.seconds) for run in runs):.1f}",
            f"{statistics.median(sum(run.cpu_seconds) for run in runs):.1f}",
            f"{statistics.median(len(run.seconds) for run in runs):.0f}",
            f"{statistics.median(run.ndcg[-1] for run in runs):.4f}",
            f"{statistics.median(second for run in runs for second in run.seconds):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recbole-python", required=True, help="Python of an environment with recbole==1.2.1; "
                        "sampling.py says how to make one")
    parser.add_argument("--recbole-batch-size", type=int, default=256, help="rows a step (default: 256)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="for both (default: all processors)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, with seeds 0, 1, ... (default: 3)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = real_dataset("ml-100k")
    ours: list[Run] = []
    theirs: list[Run] = []
    for seed in range(options.repeats):
        config = TrainConfig(seed=seed, epochs=_MOST_EPOCHS, patience=_MOST_EPOCHS)
        ours.append(our_run(dataset, config, options.threads))
        theirs.append(recbole_run(options.recbole_python, dataset, {
            "seed": seed, "threads": options.threads, "train_batch_size": options.recbole_batch_size,
            "hidden_size": config.width, "n_layers": config.blocks, "n_heads": config.heads,
            "inner_size": 4 * config.width, "MAX_ITEM_LIST_LENGTH": config.max_len}))
    ratio = statistics.median(sum(run.seconds) for run in theirs) / statistics.median(sum(run.seconds) for run in ours)
    print(f"MovieLens-100K, {dataset.n_users:,} users x {dataset.n_items:,} items, until validation NDCG@10 >= "
          f"{TARGET:.3f} (seen items kept), {options.threads} threads, torch {torch.__version__}, median of "
          f"{options.repeats}\n")
    print(table(("", "seconds", "CPU seconds", "epochs", "NDCG@10", "seconds an epoch"),
                [row_of("tslrec-min", ours), row_of("RecBole", theirs)]))
    print(f"\nratio {ratio:.1f}; asked for: {LEAST_RATIO}")


if __name__ == "__main__":
    main()
