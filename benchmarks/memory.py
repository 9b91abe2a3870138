"""Peak memory of training steps with a catalogue of 1,000,000 items: sampled softmax and the chunked full softmax.

Each loss runs in a process of its own, so that its peak is its own: torch, the recommender (SASRec, width 64), the
optimiser's two moments, a copy of the best weights, and steps of 64 histories of 50 items. The least that this needs
is printed beside: the item table, its gradient, the moments and the copy are 5 x 244 MiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np
from _data import step_seconds

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table

LIMITS = {"sampled": 2.0, "ce": 4.0}
"""GiB."""
_HISTORIES, _LENGTH = 640, 51


def measure(loss: str, n_items: int, steps: int) -> dict[str, float]:
    """Take some steps in this process and return its peak memory in GiB and the seconds of a step."""
    import torch

    from tslrec_min.configs import TrainConfig
    from tslrec_min.data.dataset import Histories
    from tslrec_min.recommenders.adapters import build_adapter
    from tslrec_min.recommenders.models import build_recommender
    from tslrec_min.recommenders.training import TrainingRun
    from tslrec_min.runtime.measuring import peak_memory_mib

    torch.set_num_threads(usable_processors())
    items = np.random.default_rng(0).integers(1, n_items + 1, _HISTORIES * _LENGTH).astype(np.int32)
    histories = Histories(np.arange(_HISTORIES + 1) * _LENGTH, items)
    config = TrainConfig(loss=loss, batch_size=64, max_len=50)
    recommender = build_recommender(build_adapter(config, n_items, None, histories), config)
    run = TrainingRun(recommender, histories, config, torch.device("cpu"), usable_processors())
    recommender.train()
    windows, batches = run.plan(1)
    seconds = step_seconds(run, windows, batches[:steps])
    run.end_epoch({"ndcg@10": 0.0})  # keeps a copy of the weights, as every training does
    run.learn(windows, batches[0])
    return {"peak": peak_memory_mib() / 1024, "seconds": float(np.median(seconds))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000, help="size of the catalogue (default: 1,000,000)")
    parser.add_argument("--steps", type=int, default=3, help="training steps (default: 3)")
    parser.add_argument("--measure", choices=LIMITS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.items, arguments.steps)))
        return
    least = 5 * 4 * 64 * arguments.items / 2**30
    rows = []
    for loss, limit in LIMITS.items():
        command = [sys.executable, __file__, "--measure", loss, "--items", str(arguments.items), "--steps",
                   str(arguments.steps)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append([loss, f"{found['peak']:.2f}", f"{limit:.1f}", "yes" if found["peak"] < limit else "NO",
                     f"{found['peak'] / least:.2f}", f"{found['seconds']:.2f}"])
    print(f"{arguments.items:,} items, batches of 64 x 50, width 64; table, gradient, moments and best weights: "
          f"{least:.2f} GiB\n")
    print(table(("loss", "peak GiB", "limit", "within", "peak / least", "step s"), rows))


if __name__ == "__main__":
    main()
