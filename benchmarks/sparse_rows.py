"""`tslrec_min.recommenders.sparse_rows.weighted_row_sums` against a loop over the users with `np.bincount`.

Users' items and the rows of the matrix are random, popular ones more often, from a fixed seed. Both take turns.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from _data import medians

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.recommenders.sparse_rows import weighted_row_sums


@dataclass(frozen=True)
class Shape:
    """Users, items, entries of each user and items of each row of the matrix."""

    n_users: int
    n_items: int
    n_entries: int
    row_length: int


SHAPES = (Shape(6_040, 3_706, 165, 100), Shape(20_000, 12_101, 8, 100), Shape(3_000, 100_000, 20, 200))


def row_of(shape: Shape, threads: int, repeats: int) -> list[str]:
    """Measure one shape and lay out its row."""
    random = np.random.default_rng(0)
    popularity = 1 / np.arange(1, shape.n_items + 1) ** 0.8
    popularity /= popularity.sum()

    def draw(n_rows: int, length: int) -> np.ndarray:
        return (random.choice(shape.n_items, (n_rows, length), p=popularity) + 1).astype(np.int32)

    entries, rows = draw(shape.n_users, shape.n_entries), np.sort(draw(shape.n_items, shape.row_length))
    weights, values = random.random(entries.shape), random.random(rows.shape, dtype=np.float32)
    indptr = np.arange(shape.n_users + 1) * shape.n_entries
    row_indptr = np.concatenate([[0], np.arange(shape.n_items + 1) * shape.row_length])

    def kernel() -> object:
        return weighted_row_sums(indptr, entries.ravel(), weights.ravel(), row_indptr, rows.ravel(), values.ravel(),
                                 shape.n_items, threads)

    def loop() -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for items, own in zip(entries, weights, strict=True):
            sums = np.bincount(rows[items - 1].ravel(), (own[:, None] * values[items - 1]).ravel())
            kept = np.flatnonzero(sums)
            found.append((kept.astype(np.int32), sums[kept].astype(np.float32)))
        return found

    seconds = medians({"kernel": kernel, "loop": loop}, repeats)
    return [f"{shape.n_users:,} x {shape.n_items:,}, {shape.n_entries} entries, rows of {shape.row_length}",
            f"{1e3 * seconds['kernel']:.0f}", f"{1e3 * seconds['loop']:.0f}",
            f"{seconds['loop'] / seconds['kernel']:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all processors)")
    arguments = parser.parse_args()
    print(f"{arguments.threads} threads, median of {arguments.repeats}\n")
    print(table(("users x items", "kernel ms", "NumPy loop ms", "loop / kernel"),
                [row_of(shape, arguments.threads, arguments.repeats) for shape in SHAPES]))


if __name__ == "__main__":
    main()
