"""Building an epoch's batches of MovieLens-1M: by the kernels, and by a torch DataLoader that pads row by row.

The DataLoader is what sequential recommenders usually have: a Dataset that cuts and pads one user's history at a
time, and the default collation. It makes the batches of one window per user, padded to max_len; the kernels make
those of all windows of the epoch, so both are compared per batch of the same number of rows. The share is of a
training epoch of SASRec's (blocks 2, width 64, full softmax), timed in the same run on the same threads.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from _data import medians, real_dataset, step_seconds
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Histories
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.batching import (
    cloze_batch,
    length_parts,
    next_item_batch,
    next_item_windows,
    window_phases,
)
from tslrec_min.recommenders.models import build_recommender
from tslrec_min.recommenders.training import TrainingRun

CONFIG = TrainConfig(max_len=200, batch_size=64)


class PaddedHistories(TorchDataset):
    """One user's last items, padded on the left, as inputs and targets."""

    def __init__(self, histories: Histories) -> None:
        self.rows = [histories.of(user).tolist() for user in range(len(histories))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, user: int) -> tuple[torch.Tensor, torch.Tensor]:
        items = self.rows[user][-CONFIG.max_len - 1:]
        padding = [0] * (CONFIG.max_len + 1 - len(items))
        return torch.tensor(padding + items[:-1]), torch.tensor(padding + items[1:])


def kernel_epoch(histories: Histories, n_items: int, objective: str, threads: int) -> int:
    """Make all batches of an epoch; return their number."""
    random = np.random.default_rng(0)
    windows = next_item_windows(histories.indptr, CONFIG.max_len,
                                window_phases(histories.indptr, CONFIG.max_len, random))
    lengths = np.minimum(windows.input_stop - windows.row_start, CONFIG.max_len)
    order = random.permutation(len(windows))
    batches = [order[start:start + CONFIG.batch_size] for start in range(0, len(order), CONFIG.batch_size)]
    for chosen in batches:
        for part in length_parts(lengths[chosen]):
            if objective == "next":
                next_item_batch(histories.items, windows, chosen[part], CONFIG.max_len, num_threads=threads)
            else:
                cloze_batch(histories.items, windows, chosen[part], CONFIG.max_len, mask=n_items + 1, probability=0.2,
                            last_probability=0.1, seed=0, epoch=1, num_threads=threads)
    return len(batches)


def training_epoch(histories: Histories, n_items: int, threads: int, n_steps: int) -> float:
    """Return the seconds of a training epoch, from the median of some steps."""
    recommender = build_recommender(build_adapter(CONFIG, n_items, None, histories), CONFIG)
    run = TrainingRun(recommender, histories, CONFIG, torch.device("cpu"), threads)
    recommender.train()
    windows, batches = run.plan(1)
    return statistics.median(step_seconds(run, windows, batches[:n_steps])) * len(batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--steps", type=int, default=20, help="training steps that are timed (default: 20)")
    arguments = parser.parse_args()
    dataset, threads = real_dataset("ml-1m"), usable_processors()
    histories = dataset.training()
    torch.set_num_threads(threads)
    loader = DataLoader(PaddedHistories(histories), batch_size=CONFIG.batch_size, shuffle=True)
    n_batches = {kind: kernel_epoch(histories, dataset.n_items, kind, threads) for kind in ("next", "cloze")}
    found = medians({"next": lambda: kernel_epoch(histories, dataset.n_items, "next", threads),
                     "cloze": lambda: kernel_epoch(histories, dataset.n_items, "cloze", threads),
                     "loader": lambda: list(loader)}, arguments.repeats)
    epoch = training_epoch(histories, dataset.n_items, threads, arguments.steps)
    loader_batch = found["loader"] / len(loader)
    print(f"MovieLens-1M, batches of {CONFIG.batch_size}, max_len {CONFIG.max_len}, {threads} threads, torch "
          f"{torch.__version__}, median of {arguments.repeats}; a DataLoader's batch takes {1e3 * loader_batch:.2f} "
          f"ms, a training epoch {epoch:.1f} s\n")
    print(table(("batches", "epoch ms", "batch ms", "DataLoader / kernel", "limit", "share of training", "limit"), [
        [{"next": "next item", "cloze": "cloze"}[kind], f"{1e3 * found[kind]:.1f}",
         f"{1e3 * found[kind] / n_batches[kind]:.3f}", f"{loader_batch / (found[kind] / n_batches[kind]):.0f}", ">= 20",
         f"{found[kind] / epoch:.2%}", "< 1 %"] for kind in n_batches]))


if __name__ == "__main__":
    main()
