"""Ranks (`tslrec_min.ranking.scores.Scores.rank`) against the bare matrix product and against what others rank with.

`torch.mm` of the same factors at the same number of threads is the least that ranking by a stored product can cost;
its second column writes into memory that is kept, which spares it the kernel's page faults. "torch top 10" masks the
seen items and takes the ten best, 1,000 users at a time. "implicit" is `implicit.evaluation.ranking_metrics_at_k` at
K = 10 of the same factors, if the library is there. All take turns. Factors, targets and seen items are random, from a
fixed seed. Memory is the growth of the peak in a process of its own (Linux), beyond factors and seen items.

The second table has the same shapes with all parts of a score, a bias and sparse rows, beside the product alone, for
ranks and for the ten best items. Half the catalogue in each row is far from what sparse rows are for.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _data import medians

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.data.seen import SeenItems
from tslrec_min.ranking._ranking import instruction_sets
from tslrec_min.ranking.scores import Scores, SparseRows

WIDTH = 64
MOST_OF_PRODUCT = 1.3
MOST_MIB = 64
ENTRIES = 300
MOST_OF_ONE_PART = 1.3
_AT_ONCE = 1_000
"""Users per product of "torch top 10", as in implicit."""
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Shape:
    """Sizes of one row, and how many times faster than implicit it should be."""

    n_users: int
    n_items: int
    n_seen: int
    least_of_implicit: float


SHAPES = (Shape(6_040, 3_706, 165, 5.0), Shape(20_000, 12_101, 8, 2.0), Shape(3_000, 100_000, 20, 1.8))
"""The first two are about as large as MovieLens-1M and Amazon Beauty."""


@dataclass(frozen=True)
class Case:
    """What is ranked: states float32 [B, d], item table float32 [I + 1, d], targets int64 [B], seen."""

    states: np.ndarray
    item_table: np.ndarray
    targets: np.ndarray
    seen: SeenItems

    @property
    def product(self) -> Scores:
        """Return the scores of states and item table alone."""
        return Scores(self.states, self.item_table)

    def all_parts(self, n_entries: int) -> Scores:
        """Return the scores with a bias and about this many entries for each user."""
        random = np.random.default_rng(1)
        n_users, n_items = len(self.states), len(self.item_table) - 1
        steps = random.integers(1, 2 * n_items // n_entries, (n_users, n_entries), dtype=np.int32)
        items = np.cumsum(steps, axis=1, dtype=np.int32)  # rising, from 1 to about n_items
        kept = items <= n_items
        values = random.standard_normal(np.count_nonzero(kept), dtype=np.float32)
        sparse = SparseRows(np.concatenate([[0], np.cumsum(kept.sum(axis=1))]), items[kept], values)
        return Scores(self.states, self.item_table, random.standard_normal(n_items + 1, dtype=np.float32), sparse)


def random_case(shape: Shape) -> Case:
    random = np.random.default_rng(0)
    states = random.standard_normal((shape.n_users, WIDTH), dtype=np.float32)
    item_table = random.standard_normal((shape.n_items + 1, WIDTH), dtype=np.float32)
    item_table[0] = 0
    history = random.integers(1, shape.n_items + 1, shape.n_users * shape.n_seen)
    seen = SeenItems.from_histories(np.arange(shape.n_users + 1) * shape.n_seen, history, shape.n_items)
    return Case(states, item_table, random.integers(1, shape.n_items + 1, shape.n_users), seen)


def rank(case: Case, threads: int) -> object:
    return case.product.rank(case.targets, case.seen, num_threads=threads)


def torch_works(case: Case, threads: int) -> dict[str, Callable[[], object]]:
    import torch

    torch.set_num_threads(threads)
    states, item_table = torch.from_numpy(case.states), torch.from_numpy(case.item_table)
    rows = torch.from_numpy(np.repeat(np.arange(len(states)), np.diff(case.seen.indptr)))
    seen, starts = torch.from_numpy(case.seen.items.astype(np.int64)), case.seen.indptr
    kept = torch.empty((len(states), len(item_table)))

    def top_10() -> None:
        for first in range(0, len(states), _AT_ONCE):
            scores = torch.mm(states[first:first + _AT_ONCE], item_table.T)
            part = slice(starts[first], starts[min(first + _AT_ONCE, len(states))])
            scores[rows[part] - first, seen[part]] = -torch.inf
            scores[:, 0] = -torch.inf
            scores.topk(10)

    return {"product": lambda: torch.mm(states, item_table.T),
            "kept product": lambda: torch.mm(states, item_table.T, out=kept), "top 10": top_10}


def implicit_work(case: Case, threads: int) -> Callable[[], object]:
    """Return implicit's evaluation; ImportError where it is not installed."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.evaluation import ranking_metrics_at_k
    from scipy.sparse import csr_matrix
    from threadpoolctl import ThreadpoolController

    one_blas_thread = ThreadpoolController().wrap(limits=1, user_api="blas")  # as implicit asks for
    model = one_blas_thread(AlternatingLeastSquares)(factors=WIDTH, num_threads=threads)  # factors are given: no fit
    model.user_factors, model.item_factors = case.states, case.item_table[1:]
    shape = len(case.states), len(case.item_table) - 1
    train = csr_matrix((np.ones(len(case.seen.items), np.float32), case.seen.items - 1, case.seen.indptr), shape)
    test = csr_matrix((np.ones(shape[0], np.float32), case.targets - 1, np.arange(shape[0] + 1)), shape)
    return one_blas_thread(lambda: ranking_metrics_at_k(model, train, test, K=10, show_progress=False,
                                                        num_threads=threads))


def extra_mib(shape: Shape, threads: int) -> float:
    """Return by how much ranking raises the peak of this process's memory; NaN where /proc doesn't say."""
    def status_kib(key: str) -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(key))

    case = random_case(shape)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of making the case
        before = status_kib("VmRSS")
        rank(case, threads)
        return (status_kib("VmHWM") - before) / 1024
    except OSError:
        return math.nan


def judged(text: str, met: bool) -> str:
    return f"{text} {'met' if met else 'MISSED'}"


def row_of(shape: Shape, threads: int, repeats: int) -> list[str]:
    """Measure one shape and lay out its row."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        mib = process.submit(extra_mib, shape, threads).result()
    case = random_case(shape)
    works: dict[str, Any] = {"rank": lambda: rank(case, threads), **torch_works(case, threads)}
    try:
        works["implicit"] = implicit_work(case, threads)
    except ImportError:
        pass
    found = {name: 1e3 * seconds for name, seconds in medians(works, repeats, _PAUSE_SECONDS).items()}
    of_product = found["rank"] / found["product"]
    implicit_cells = ["-", "-"]
    if "implicit" in found:
        faster = found["implicit"] / found["rank"]
        implicit_cells = [f"{found['implicit']:.0f}", judged(f"{faster:.1f} (>= {shape.least_of_implicit})",
                                                             faster >= shape.least_of_implicit)]
    return [f"{shape.n_users:,} x {shape.n_items:,}, {shape.n_seen} seen",
            *(f"{found[name]:.1f}" for name in ("rank", "product", "kept product", "top 10")), implicit_cells[0],
            judged(f"{of_product:.2f} (<= {MOST_OF_PRODUCT})", of_product <= MOST_OF_PRODUCT), implicit_cells[1],
            judged(f"{mib:.1f} (<= {MOST_MIB})", mib <= MOST_MIB)]


def rows_of_parts(shape: Shape, threads: int, repeats: int) -> list[list[str]]:
    """Measure the parts of a score at one shape, and lay out a row for each length of sparse rows."""
    case = random_case(shape)
    lengths = [ENTRIES] + ([shape.n_items // 2] if shape == SHAPES[0] else [])
    scores = {"product": case.product} | {str(length): case.all_parts(length) for length in lengths}
    works: dict[str, Callable[[], object]] = {}
    for name, form in scores.items():
        works[f"rank {name}"] = lambda form=form: form.rank(case.targets, case.seen, num_threads=threads)
        works[f"top {name}"] = lambda form=form: form.top_k(10, case.seen, num_threads=threads)
    found = {name: 1e3 * seconds for name, seconds in medians(works, repeats, _PAUSE_SECONDS).items()}
    rows = []
    for length in lengths:
        cells = [f"{shape.n_users:,} x {shape.n_items:,}, {length:,} entries"]
        for work in ("rank", "top"):
            ratio = found[f"{work} {length}"] / found[f"{work} product"]
            judgement = judged(f"{ratio:.2f} (<= {MOST_OF_ONE_PART})", ratio <= MOST_OF_ONE_PART)
            cells += [f"{found[f'{work} product']:.1f}", f"{found[f'{work} {length}']:.1f}",
                      judgement if length == ENTRIES else f"{ratio:.2f}"]
        rows.append(cells)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all processors)")
    arguments = parser.parse_args()
    import torch

    try:
        import implicit
        peer = f"implicit {implicit.__version__}"
    except ImportError:
        peer = "implicit not found (pip install implicit==0.7.3 scipy threadpoolctl)"
    print(f"float32, d = {WIDTH}, {arguments.threads} threads, {instruction_sets()[-1]}, torch {torch.__version__}, "
          f"{peer}, "
          f"median of {arguments.repeats}\n")
    print(table(("users x items", "rank ms", "torch.mm ms", "mm, kept ms", "torch top 10 ms", "implicit ms",
                 "rank / mm", "implicit / rank", "extra MiB"),
                [row_of(shape, arguments.threads, arguments.repeats) for shape in SHAPES]))
    print()
    print(table(("users x items", "rank ms", "all parts ms", "all / one", "top 10 ms", "all parts ms", "all / one"),
                [row for shape in SHAPES for row in rows_of_parts(shape, arguments.threads, arguments.repeats)]))


if __name__ == "__main__":
    main()
