"""`tslrec_min.ranking.rank_targets` against the bare matrix product of its tiles, and against its NumPy twin.

The product alone is the least that full ranking can cost: the first ratio says what counting adds to it. The twin
(tests/_reference.py) is written from the definition and slow, so it ranks only the first users, and the second
ratio is of times per user. States, tables and seen items are random, from a fixed seed. All three take turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.ranking import TILE_BYTES, rank_targets
from tslrec_min.sampling import SeenItems

SHAPES = ((943, 1_349, 64), (6_040, 3_416, 64), (4_096, 20_000, 64), (1_024, 100_000, 128))
"""Users, items, width: the first two are about as large as MovieLens-100K and -1M."""
_SEEN = 50
_TWIN_SCORES = 200_000


def random_case(n_users: int, n_items: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, SeenItems]:
    """Return states float32 [B, d], item table float32 [I + 1, d], targets int64 [B] and seen items."""
    random = np.random.default_rng(0)
    states = random.standard_normal((n_users, width), dtype=np.float32)
    item_table = random.standard_normal((n_items + 1, width), dtype=np.float32)
    item_table[0] = 0
    history = random.integers(1, n_items + 1, n_users * _SEEN)
    seen = SeenItems.from_histories(np.arange(n_users + 1) * _SEEN, history, n_items)
    return states, item_table, random.integers(1, n_items + 1, n_users), seen


def tiled_product(states: np.ndarray, item_table: np.ndarray) -> None:
    """Multiply as rank_targets does: tiles of TILE_BYTES, one overwriting the other."""
    tile_rows = max(1, min(len(states), TILE_BYTES // (len(item_table) * item_table.itemsize)))
    tile = np.empty((tile_rows, len(item_table)), dtype=states.dtype)
    for start in range(0, len(states), tile_rows):
        part = states[start:start + tile_rows]
        np.matmul(part, item_table.T, out=tile[:len(part)])


def twin_counts() -> Callable[..., Any]:
    """Return the twin; the folder of tests goes last on the path, so that it hides nothing."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from _reference import counts

    return counts


def medians(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each work; they take turns, after a first round that isn't timed."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def row_of(shape: tuple[int, int, int], threads: int, repeats: int, counts: Callable[..., Any]) -> list[str]:
    """Measure one shape and lay out its row."""
    n_users, n_items, _ = shape
    states, item_table, targets, seen = random_case(*shape)
    twin_users = max(1, min(n_users, _TWIN_SCORES // n_items))
    sets = [set(seen.items[seen.indptr[user]:seen.indptr[user + 1]].tolist()) for user in range(twin_users)]
    found = medians({
        "rank": lambda: rank_targets(states, item_table, targets, seen, num_threads=threads),
        "product": lambda: tiled_product(states, item_table),
        "twin": lambda: counts(states[:twin_users] @ item_table.T, targets[:twin_users], sets),
    }, repeats)
    a_user = {"rank": found["rank"] / n_users, "twin": found["twin"] / twin_users}
    return [f"{n_users:,} x {n_items:,}, d = {shape[2]}",
            f"{1e3 * found['rank']:.1f}", f"{1e3 * found['product']:.1f}", f"{found['rank'] / found['product']:.2f}",
            f"{1e3 * a_user['twin']:.3f}", f"{a_user['twin'] / a_user['rank']:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: 5)")
    repeats = parser.parse_args().repeats
    threads, counts = usable_processors(), twin_counts()
    print(f"float32, {_SEEN} seen items a user, {threads} threads, tiles of {TILE_BYTES >> 20} MiB, NumPy "
          f"{np.__version__}, median of {repeats}\n")
    print(table(("users x items", "rank ms", "product ms", "rank / product", "twin ms a user", "twin / rank, a user"),
                [row_of(shape, threads, repeats, counts) for shape in SHAPES]))


if __name__ == "__main__":
    main()
