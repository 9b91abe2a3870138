"""The best items of 100,000 users among 100,000: `tslrec recommend` from the states on, against the bare product.

"numpy" and "torch" are float32 products of the same factors, some hundred users at a time into memory that is kept:
the scores alone, of which nothing is looked at. "top_k" is `ranking.top_k`; "answers" adds all that `tslrec recommend`
does after the model: leaving out seen items, naming the best ones, JSON lines into a file. The limit is for both,
against the faster product. Users go through in blocks; for each block all take turns, and a figure is the median over
blocks times their number, so other programs that come and go disturb all alike. `--clock cpu` counts processor time
instead of wall time, for a machine that is in use. Memory is the growth of the peak of "answers" in a process of its
own (Linux), beyond factors and histories.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.ranking._ranking import instruction_sets

MOST_OF_PRODUCT = 1.5
_PRODUCT_USERS = 512
"""Users of one product: their scores of 100,000 items are 200 MiB."""
_SEEN = 20


class Case:
    """Random factors and histories, from a fixed seed."""

    def __init__(self, sizes: argparse.Namespace) -> None:
        from tslrec_min.data.dataset import Histories
        from tslrec_min.recommendation.recommend import BLOCK_USERS

        random = np.random.default_rng(0)
        self.k, self.threads = sizes.k, sizes.threads
        self.states = random.standard_normal((sizes.users, sizes.width), dtype=np.float32)
        self.item_table = random.standard_normal((sizes.items + 1, sizes.width), dtype=np.float32)
        items = random.integers(1, sizes.items + 1, sizes.users * _SEEN, dtype=np.int32)
        self.histories = Histories(np.arange(sizes.users + 1) * _SEEN, items)
        self.blocks = [slice(start, start + BLOCK_USERS) for start in range(0, sizes.users, BLOCK_USERS)]
        self.user_ids = [f"user{user}" for user in range(sizes.users)]
        self.item_ids = [f"item{item}" for item in range(sizes.items)]

    def answer(self, block: slice, write: Callable[..., None]) -> None:
        """Do what `recommendation.recommend` does with a block whose states are known."""
        from tslrec_min.data.seen import SeenItems
        from tslrec_min.ranking.scores import Scores
        from tslrec_min.recommendation.writers import Recommendations

        states, users = self.states[block], self.user_ids[block]
        items = self.histories.items[block.start * _SEEN:block.stop * _SEEN]
        seen = SeenItems.from_histories(self.histories.indptr[:len(users) + 1], items, len(self.item_table) - 1)
        write(Recommendations(users, *Scores(states, self.item_table).top_k(self.k, seen, num_threads=self.threads)))

    def writer(self, stream: BinaryIO) -> AbstractContextManager[Callable[..., None]]:
        """Write answers as `recommendation.recommend` does."""
        from tslrec_min.recommendation.writers import ItemNames, open_writer

        return open_writer("jsonl", stream, ItemNames(self.item_ids, None, "stored"))


def works(case: Case) -> dict[str, Callable[[slice], None]]:
    import torch

    from tslrec_min.ranking.ranks import top_k

    torch.set_num_threads(case.threads)
    kept = np.empty((_PRODUCT_USERS, len(case.item_table)), np.float32)
    kept_tensor, table_tensor = torch.from_numpy(kept), torch.from_numpy(case.item_table)

    def parts(block: slice):
        return (case.states[first:min(first + _PRODUCT_USERS, block.stop)]
                for first in range(block.start, min(block.stop, len(case.states)), _PRODUCT_USERS))

    def numpy_product(block: slice) -> None:
        for states in parts(block):
            np.matmul(states, case.item_table.T, out=kept[:len(states)])

    def torch_product(block: slice) -> None:
        for states in parts(block):
            torch.mm(torch.from_numpy(states), table_tensor.T, out=kept_tensor[:len(states)])

    def best(block: slice) -> None:
        top_k(case.states[block], case.item_table, case.k, None, num_threads=case.threads)

    return {"numpy": numpy_product, "torch": torch_product, "top_k": best}


def measured(sizes: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of each work for all users."""
    case = Case(sizes)
    clock = time.process_time if sizes.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryFile() as stream, case.writer(stream) as write:
        turns = works(case) | {"answers": lambda block: case.answer(block, write)}
        for work in turns.values():
            work(slice(0, _PRODUCT_USERS))  # not timed
        for block in case.blocks * sizes.repeats:
            users = len(case.states[block])
            for name, work in turns.items():
                started = clock()
                work(block)
                seconds.setdefault(name, []).append((clock() - started) / users)
    return {name: statistics.median(values) * sizes.users for name, values in seconds.items()}


def extra_mib(sizes: argparse.Namespace) -> float:
    """Return by how much answering raises the peak of this process's memory; NaN where /proc doesn't say."""
    def status_kib(key: str) -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(key))

    case = Case(sizes)
    try:
        with open(os.devnull, "wb") as stream, case.writer(stream) as write:
            Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of making the case
            before = status_kib("VmRSS")
            for block in case.blocks:
                case.answer(block, write)
            return (status_kib("VmHWM") - before) / 1024
    except OSError:
        return math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("users", 100_000), ("items", 100_000), ("width", 64), ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"(default: {default:,})")
    parser.add_argument("-k", type=int, default=10, help="best items of each user (default: 10)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all processors)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what is counted (default: wall)")
    sizes = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when NumPy is loaded
        os.environ[name] = str(sizes.threads)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        seconds = process.submit(measured, sizes).result()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        mib = process.submit(extra_mib, sizes).result()
    product = min(seconds["numpy"], seconds["torch"])
    rows = [(name, f"{value:.2f}", f"{sizes.users / value:,.0f}", f"{value / product:.2f}" + (
        "" if name not in ("top_k", "answers") else " met" if value <= MOST_OF_PRODUCT * product else " MISSED"),
        f"{mib:.0f}" if name == "answers" else "") for name, value in seconds.items()]
    print(f"{sizes.users:,} users x {sizes.items:,} items, float32, d = {sizes.width}, k = {sizes.k}, {sizes.threads} "
          f"threads, {instruction_sets()[-1]}, NumPy {np.__version__}, {sizes.clock} time\n")
    print(table(("", "seconds", "users/s", f"of the product (<= {MOST_OF_PRODUCT})", "extra MiB"), rows))


if __name__ == "__main__":
    main()
