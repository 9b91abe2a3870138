"""Times of the kernels for recommenders: batches, negatives, ranks, dropout; each against plain NumPy or torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..data.seen import SeenItems
from ..ranking.ranks import rank_targets, top_k
from ..recommenders.batching import cloze_batch, next_item_batch, next_item_windows
from ..recommenders.models.dropout import Dropout
from ..recommenders.sampling import AliasTable, sample_negatives
from .figures import Effort, Figure, relative_time
from .references import padded_batch, rejected_negatives

_MAX_LEN = 150
_NEGATIVES = 64
_WIDTH = 64
_ALPHA = 0.75
_BATCHING_TOLERANCE = 0.3
"""The kernel is only part of a batch's time, which memory limits: its work done twice took 1.39 times as long."""


@dataclass(frozen=True)
class KernelSizes:
    """The size of the kernels' inputs."""

    users: int
    items: int
    history: int
    """Number of items of every user."""


class _Case:
    """Random histories and factors."""

    def __init__(self, sizes: KernelSizes, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.sizes, self.users = sizes, np.arange(sizes.users)
        self.indptr = np.arange(sizes.users + 1) * sizes.history
        self.items = random.integers(1, sizes.items + 1, sizes.users * sizes.history, dtype=np.int32)
        self.seen = SeenItems.from_histories(self.indptr, self.items, sizes.items)
        self.counts = np.bincount(self.items, minlength=sizes.items + 1)
        self.states = random.standard_normal((sizes.users, _WIDTH), dtype=np.float32)
        self.item_table = random.standard_normal((sizes.items + 1, _WIDTH), dtype=np.float32)
        self.targets = random.integers(1, sizes.items + 1, sizes.users)


def kernel_figures(sizes: KernelSizes, seed: int, effort: Effort, threads: int) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of every kernel, on random histories and factors from a seed."""
    case = _Case(sizes, seed)
    yield from _batching(case, effort, threads)
    yield from _sampling(case, effort, threads)
    yield from _ranking(case, effort, threads)
    values, layer = torch.ones(sizes.users, 8 * _WIDTH), Dropout(0.2)
    yield "kernel_dropout_time", relative_time(
        lambda: layer(values), lambda: torch.nn.functional.gelu(values), effort, "dropout / GELU of torch")


def _batching(case: _Case, effort: Effort, threads: int) -> Iterator[tuple[str, Figure]]:
    windows = next_item_windows(case.indptr, _MAX_LEN, np.zeros(case.sizes.users, np.int64))
    select = np.random.default_rng(1).permutation(len(windows))
    kept = np.empty((len(select), _MAX_LEN), np.int64)
    stops = windows.input_stop[select]
    lengths = np.minimum(stops - windows.row_start[select], _MAX_LEN)

    def next_items() -> None:
        next_item_batch(case.items, windows, select, _MAX_LEN, num_threads=threads)

    def cloze() -> None:
        cloze_batch(case.items, windows, select, _MAX_LEN, mask=case.sizes.items + 1, probability=0.2,
                    last_probability=0.1, seed=0, epoch=1, num_threads=threads)

    def gather() -> None:
        padded_batch(case.items, stops - lengths, lengths, kept)

    yield "kernel_batching_time", relative_time(next_items, gather, effort,
                                                "batches of inputs and targets / one gather of NumPy's",
                                                _BATCHING_TOLERANCE)
    yield "kernel_cloze_time", relative_time(cloze, gather, effort, "batches of hidden items / one gather of NumPy's")


def _sampling(case: _Case, effort: Effort, threads: int) -> Iterator[tuple[str, Figure]]:
    known = np.zeros((case.sizes.users, case.sizes.items + 1), dtype=bool)
    known[np.repeat(case.users, case.sizes.history), case.items] = True
    popularity = AliasTable.from_counts(case.counts, _ALPHA)
    cumulative = np.cumsum(popularity.probabilities)
    cumulative[-1] = 1
    rows, random = case.users[:2048], np.random.default_rng(2)
    for name, table, sums in (("uniform", None, None), ("popularity", popularity, cumulative)):
        def ours(table: AliasTable | None = table) -> None:
            sample_negatives(case.seen, rows, rows, _NEGATIVES, seed=0, epoch=0, table=table,
                             num_threads=threads)

        def plain(sums: np.ndarray | None = sums) -> None:
            rejected_negatives(known, rows, sums, _NEGATIVES, random)

        yield f"kernel_sampling_{name}_time", relative_time(ours, plain, effort,
                                                            f"negatives, {name} / rejection by NumPy")


def _ranking(case: _Case, effort: Effort, threads: int) -> Iterator[tuple[str, Figure]]:
    kept = torch.empty(case.sizes.users, case.sizes.items + 1)
    states, columns = torch.from_numpy(case.states), torch.from_numpy(case.item_table).T

    def product() -> None:
        torch.mm(states, columns, out=kept)

    yield "kernel_ranking_time", relative_time(
        lambda: rank_targets(case.states, case.item_table, case.targets, case.seen, num_threads=threads), product,
        effort, "ranks of targets / bare torch.mm into kept memory")
    yield "kernel_top_k_time", relative_time(
        lambda: top_k(case.states, case.item_table, 10, case.seen, num_threads=threads), product, effort,
        "10 best items / bare torch.mm into kept memory")
