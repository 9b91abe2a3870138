"""What several benchmarks share: real data sets, and timing of things that take turns."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.data.preparation import prepare


def real_dataset(name: str) -> Dataset:
    """Prepare ``ml-100k``, ``ml-1m`` or ``amazon-beauty``, 5-core, from the folder named in TSLREC_TEST_DATA."""
    folder = Path(os.environ.get("TSLREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / name
    if not folder.is_dir():
        sys.exit(f"no data at {folder}; name the folder of {name}/ in TSLREC_TEST_DATA")
    with tempfile.TemporaryDirectory() as temporary:
        prepare(folder, Path(temporary) / "dataset", PrepareConfig(k_core=5))
        return load_dataset(Path(temporary) / "dataset")[0]


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
