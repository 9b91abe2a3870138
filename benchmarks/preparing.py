"""Rows a second and peak memory of reading and preparing a CSV file of 10,000,000 rows, beside pandas and pyarrow.

The file is made here: by default ids as Amazon's, 25 rows a user, popularity of items as 1 / rank, times in no order;
with ``--ids integers`` as MovieLens-25M's ratings.csv, 154 rows a user, one user after the other. Each work runs in a
process of its own, so that its peak is its own. *read* makes codes and times of the file; *prepare* is all of `tslrec
prepare`: the 5-core, the order, the numbering and the artifact. pandas and pyarrow read the columns that are needed:
users, items and times. ``--profile`` adds the seconds of the parts of *prepare*.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tslrec_min.cli.tables import table

LIMIT_GIB = 2.0
"""For ours."""
_ROWS_OF_USER, _ITEMS, _BLOCK = {"texts": 25, "integers": 154}, 100_000, 500_000
_COLUMNS = ["user_id", "item_id", "timestamp"]
_FORMS = {"texts": ("A{:013d}", "B{:09d}"), "integers": ("{}", "{}")}
_PARTS = {"sha256_of_file": "hashes of the artifact", "read_interactions": "read and parse", "collect_items": "titles",
          "without_duplicates": "duplicates", "_kept": "k-core", "_ids_in_order": "order of ids", "taken": "histories",
          "statistics": "statistics and the split's hash"}
"""Function -> what it does; none of them calls another. Threads beside them hash the input, split blocks, order rows
and write: what the main thread waits for is part of "rest"."""


def write_raw(folder: Path, n_rows: int, ids: str) -> Path:
    """Write interactions.csv and items.tsv; returns the first."""
    random, n_users = np.random.default_rng(0), n_rows // _ROWS_OF_USER[ids]
    user_form, item_form = _FORMS[ids]
    popularity = 1 / np.arange(1, _ITEMS + 1)
    share = np.cumsum(popularity / popularity.sum())
    with open(folder / "interactions.csv", "w") as stream:
        stream.write("user_id,item_id,rating,timestamp\n")
        for start in range(0, n_rows, _BLOCK):
            count = min(_BLOCK, n_rows - start)
            users = random.integers(n_users, size=count).tolist()
            if ids == "integers":
                users = np.sort(n_users * start // n_rows + random.integers(n_users * count // n_rows + 1, size=count)
                                ).tolist()
            items = np.minimum(np.searchsorted(share, random.random(count)), _ITEMS - 1).tolist()
            ratings = random.integers(1, 6, count).tolist()
            times = random.integers(1_300_000_000, 1_400_000_000, count).tolist()
            stream.writelines(f"{user_form.format(user)},{item_form.format(item)},{rating}.0,{moment}\n"
                              for user, item, rating, moment in zip(users, items, ratings, times, strict=True))
    with open(folder / "items.tsv", "w") as stream:
        stream.write("item_id\ttitle\n")
        stream.writelines(f"{item_form.format(item)}\tTitle of item {item}\n" for item in range(_ITEMS))
    return folder / "interactions.csv"


def measure(work: str, file: Path) -> dict[str, float]:
    """Do one work in this process; return its seconds and the peak memory in GiB."""
    from tslrec_min.configs import PrepareConfig
    from tslrec_min.data.prepare import prepare
    from tslrec_min.data.raw.discover import find_source
    from tslrec_min.data.raw.readers import read_interactions
    from tslrec_min.runtime.measuring import peak_memory_mib, start_measuring

    config = PrepareConfig()
    if work == "pandas.read_csv":
        import pandas

        started = start_measuring()
        pandas.read_csv(file, usecols=_COLUMNS)
    elif work == "pyarrow.csv":
        from pyarrow import csv

        started = start_measuring()
        csv.read_csv(file, convert_options=csv.ConvertOptions(include_columns=_COLUMNS))
    elif work == "read":
        started = start_measuring()
        read_interactions(find_source(file, None, config), config)
    else:
        started = start_measuring()
        with tempfile.TemporaryDirectory() as folder:
            if work == "profile":
                profiler = cProfile.Profile()
                profiler.runcall(prepare, file, Path(folder) / "dataset", config)
                print(profile_table(profiler), file=sys.stderr)
            else:
                prepare(file, Path(folder) / "dataset", config)
    return {"seconds": time.monotonic() - started, "peak": peak_memory_mib() / 1024}


def profile_table(profiler: cProfile.Profile) -> str:
    """Return the seconds of the parts of *prepare* in the main thread; the profiler takes some."""
    seconds: dict[str, float] = {}
    for entry in profiler.getstats():
        name = getattr(entry.code, "co_name", "")
        if name == "prepare":
            seconds["all"] = entry.totaltime
        elif name in _PARTS:
            seconds[_PARTS[name]] = seconds.get(_PARTS[name], 0.0) + entry.totaltime
    seconds["rest"] = 2 * seconds["all"] - sum(seconds.values())
    return table(("part", "seconds"), [(name, f"{value:.2f}") for name, value in seconds.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="interactions (default: 10,000,000)")
    parser.add_argument("--ids", choices=tuple(_FORMS), default="texts", help="kind of ids (default: texts)")
    parser.add_argument("--profile", action="store_true", help="time the parts of prepare too")
    parser.add_argument("--repeats", type=int, default=1, help="processes for each work; the best counts (default: 1)")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    peers = [work for work in ("pandas.read_csv", "pyarrow.csv") if importlib.util.find_spec(work.partition(".")[0])]
    works = ["read", "prepare", *peers]
    found: dict[str, list[dict[str, float]]] = {work: [] for work in works}
    with tempfile.TemporaryDirectory() as folder:
        file = write_raw(Path(folder), options.rows, options.ids)
        size = file.stat().st_size / 2**20
        for _ in range(options.repeats):
            for work in works:
                command = [sys.executable, __file__, "--measure", work, str(file)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[work].append(json.loads(done.stdout))
        if options.profile:
            subprocess.run([sys.executable, __file__, "--measure", "profile", str(file)], check=True,
                           stdout=subprocess.DEVNULL)
    rows = []
    for work, runs in found.items():
        best = min(runs, key=lambda run: run["seconds"])
        within = "" if work in peers else "yes" if best["peak"] < LIMIT_GIB else "NO"
        rows.append((work, f"{best['seconds']:.1f}", f"{options.rows / best['seconds'] / 1e6:.2f}",
                     f"{best['peak']:.2f}", within))
    n_users = options.rows // _ROWS_OF_USER[options.ids]
    print(f"{options.rows:,} rows, {size:.0f} MiB, {n_users:,} users, {_ITEMS:,} items; Python "
          f"{sys.version.split()[0]}, NumPy {np.__version__}, best of {options.repeats}; limit for ours: "
          f"{LIMIT_GIB:.1f} GiB\n")
    print(table(("work", "seconds", "million rows/s", "peak GiB", "within"), rows))
    if len(peers) < 2:
        print("\npandas or pyarrow is not installed, so its row is missing")


if __name__ == "__main__":
    main()
