"""`tslrec_min.recommenders.sampling.sample_negatives` on one thread, beside the sampler of RecBole 1.2.1.

Both draw negatives for the training interactions of MovieLens-1M, never one of the user's training items: in batches
of 2048 rows (RecBole's default), of consecutive rows of the data set or of rows in random order, uniformly and by
popularity^0.75. They take turns, case by case; the slower one draws fewer batches, spread over the same rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from _data import real_dataset

from tslrec_min.cli.tables import table
from tslrec_min.data.seen import SeenItems
from tslrec_min.recommenders.sampling import AliasTable, sample_negatives

ALPHA = 0.75
LEAST_RATE = 25e6
LEAST_RATIO = 20
"""What is asked of every case: draws a second, and times RecBole's."""
ROWS = 2048
_OUR_DRAWS, _PEER_DRAWS = 4_000_000, 400_000  # a case and round
_HOW_TO_GET_RECBOLE = """\
RecBole is left out: give the Python of an environment that has it with --recbole-python. To make one:
  python3.11 -m venv recbole-venv
  recbole-venv/bin/pip install recbole==1.2.1 torch==2.13.0 'numpy<2' 'pandas<2.2' 'scipy<1.13' 'setuptools<80'
"""


class RecBole:
    """The worker beside: one line to it, one line of seconds back."""

    def __init__(self, python: str, file: Path) -> None:
        script = Path(__file__).with_name("recbole_sampling.py")
        self.process = subprocess.Popen([python, str(script), str(file), str(ALPHA)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        self.answer()

    def answer(self) -> str:
        """Wait for a line."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"RecBole's side ended with status {self.process.wait()}; its message is above")
        return line

    def rate(self, distribution: str, order: str, k: int) -> float:
        """Return draws a second."""
        assert self.process.stdin
        n_batches = max(2, _PEER_DRAWS // (ROWS * k))
        print(distribution, order, k, n_batches, file=self.process.stdin, flush=True)
        return n_batches * ROWS * k / float(self.answer())


def our_rate(seen: SeenItems, popularity: AliasTable | None, users: np.ndarray, k: int) -> float:
    """Return draws a second; as in training, every batch is a call."""
    starts = np.linspace(0, len(users) - ROWS, max(2, _OUR_DRAWS // (ROWS * k))).astype(int)
    batches = [(users[start:start + ROWS], np.arange(start, start + ROWS)) for start in starts]
    started = time.perf_counter()
    for batch, positions in batches:
        sample_negatives(seen, batch, positions, k, seed=0, epoch=0, table=popularity)
    return len(batches) * ROWS * k / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recbole-python", help="Python of an environment with recbole==1.2.1")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: 5)")
    options = parser.parse_args()
    dataset = real_dataset("ml-1m")
    histories, n_items = dataset.training(), dataset.n_items
    seen = SeenItems.from_histories(histories.indptr, histories.items, n_items)
    tables = {"uniform": None,
              "popularity": AliasTable.from_counts(np.bincount(histories.items, minlength=n_items + 1), ALPHA)}
    in_order = np.repeat(np.arange(len(histories)), np.diff(histories.indptr))
    orders = {"user": in_order, "random": np.random.default_rng(0).permutation(in_order)}
    cases = [(name, order, k) for name in tables for order in orders for k in (1, 16, 256)]
    ours: dict[tuple[str, str, int], list[float]] = {case: [] for case in cases}
    theirs: dict[tuple[str, str, int], list[float]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ml-1m.npz"
        np.savez(file, indptr=histories.indptr, items=histories.items, n_items=n_items, **orders)  # type: ignore[arg-type]
        peer = RecBole(options.recbole_python, file) if options.recbole_python else None
        for turn in range(options.repeats + 1):  # the first round isn't counted
            for name, order, k in cases:
                rates = our_rate(seen, tables[name], orders[order], k), peer.rate(name, order, k) if peer else 0.0
                if turn:
                    ours[name, order, k].append(rates[0])
                    theirs[name, order, k].append(rates[1])
        if peer:
            peer.process.communicate()
    print(f"MovieLens-1M, {len(histories):,} users x {n_items:,} items, {len(in_order):,} rows, 1 thread, NumPy "
          f"{np.__version__}, median of {options.repeats}; asked for: {LEAST_RATE / 1e6:.0f} M/s and {LEAST_RATIO} "
          "times RecBole\n")
    rows = []
    for case in cases:
        rate, peer_rate = statistics.median(ours[case]), statistics.median(theirs[case])
        met = rate >= LEAST_RATE and (not peer or rate >= LEAST_RATIO * peer_rate)
        rows.append((f"{case[0]}, {case[1]} order, k = {case[2]}", f"{rate / 1e6:.1f}",
                     *((f"{peer_rate / 1e6:.2f}", f"{rate / peer_rate:.1f}") if peer else ("", "")),
                     "yes" if met else "no"))
    print(table(("draws", "M/s", "RecBole M/s", "ratio", "met"), rows))
    if not peer:
        print("\n" + _HOW_TO_GET_RECBOLE, end="")


if __name__ == "__main__":
    main()
