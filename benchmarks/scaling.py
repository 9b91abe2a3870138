"""How the stages' costs grow with users, items and tokens, and what a second process gains.

Curves: processor time of one thread, least of `--repeats`, on random histories and a random language model; beside each
the exponent of growth from the row above (1: in proportion). Processes: `tslrec pretrain`, `train`, `finetune`, `embed`
and `evaluate` on made-up data with one thread a process, one process and two of torchrun in turns; the wall time is
that of the artifact's record, so loading torch and starting torchrun don't count. It says something only where two
processors have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tslrec_min.bench.environment import cpu_name
from tslrec_min.cli.tables import table

Point = tuple[int, Callable[[], object]]
_HISTORY = 40
_WIDTH = 64


def least_seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def training(n_users: int, n_items: int, loss: str) -> Callable[[], object]:
    """Return an epoch of SASRec, of which at most 8 steps are taken."""
    import torch

    from tslrec_min.configs import TrainConfig
    from tslrec_min.data.dataset import Histories
    from tslrec_min.recommenders.adapters import build_adapter
    from tslrec_min.recommenders.models import build_recommender
    from tslrec_min.recommenders.training import TrainingRun

    items = np.random.default_rng(0).integers(1, n_items + 1, n_users * _HISTORY, dtype=np.int32)
    histories = Histories(np.arange(n_users + 1) * _HISTORY, items)
    config = TrainConfig(loss=loss, sampling="shared" if loss == "sampled" else "uniform", width=_WIDTH)
    recommender = build_recommender(build_adapter(config, n_items, None, histories), config)
    run = TrainingRun(recommender, histories, config, torch.device("cpu"), 1)
    recommender.train()
    windows, batches = run.plan(1)
    return lambda: [run.learn(windows, chosen) for chosen in batches[:8]]


def ranking(n_users: int, n_items: int) -> Callable[[], object]:
    from tslrec_min.ranking.ranks import rank_targets

    random = np.random.default_rng(0)
    states = random.standard_normal((n_users, _WIDTH), dtype=np.float32)
    item_table = random.standard_normal((n_items + 1, _WIDTH), dtype=np.float32)
    targets = random.integers(1, n_items + 1, n_users)
    return lambda: rank_targets(states, item_table, targets, None)


def reading(n_tokens: int) -> Callable[[], object]:
    """Return the states and gradients of 1,024 tokens in prompts of `n_tokens`, by six layers of SmolLM2's size."""
    import torch
    from precision import small_llama

    from tslrec_min.finetuning.head import PreferenceModel
    from tslrec_min.llm.lora import add_lora
    from tslrec_min.llm.packed_decoder import PackedDecoder
    from tslrec_min.llm.prompts import TokenPrompt

    network = small_llama()
    add_lora(network, rank=8, alpha=16.0)
    model = PreferenceModel(PackedDecoder(network), 32)
    random = np.random.default_rng(0)
    prompts = [TokenPrompt(tuple(random.integers(0, 1000, n_tokens).tolist()), 1, n_tokens)
               for _ in range(1024 // n_tokens)]
    return lambda: torch.autograd.backward(model(prompts).square().mean())


def curves() -> Iterator[tuple[str, list[Point]]]:
    """Yield what grows, and its points."""
    yield "8 steps of SASRec, full softmax, by items", [
        (n_items, training(512, n_items, "ce")) for n_items in (1_000, 4_000, 16_000, 64_000)]
    yield "the same, 256 shared negatives, by items", [
        (n_items, training(512, n_items, "sampled")) for n_items in (1_000, 4_000, 16_000, 64_000)]
    yield "ranking 1,000 users, by items", [(n_items, ranking(1_000, n_items)) for n_items in (4_000, 16_000, 64_000)]
    yield "ranking among 10,000 items, by users", [(users, ranking(users, 10_000)) for users in (500, 2_000, 8_000)]
    yield "gradients of 1,024 tokens, by tokens of a prompt", [(tokens, reading(tokens))
                                                               for tokens in (32, 128, 512, 1024)]


def print_curves(repeats: int) -> None:
    import torch

    torch.set_num_threads(1)
    for title, points in curves():
        rows, before = [], None
        for size, work in points:
            seconds = least_seconds(work, repeats)
            power = "" if before is None else f"{math.log(seconds / before[1]) / math.log(size / before[0]):.2f}"
            rows.append((f"{size:,}", f"{1e3 * seconds:.1f}", f"{1e6 * seconds / size:.3f}", power))
            before = size, seconds
        print(f"\n{title}\n\n{table(('size', 'ms', 'us of one', 'exponent'), rows)}", flush=True)


def stages(model: str) -> dict[str, list[str]]:
    """Return the words of every stage's command but its --out."""
    training = ["--width", "64", "--epochs", "3", "--max-len", "24"]
    return {"pretrain": ["dataset", "--categories", "8", *training],
            "finetune": ["dataset", "first-pretrain", "--model", model, "--users", "256", "--max-history", "10",
                         "--precision", "fp32", "--parity-prompts", "8"],
            "embed": ["dataset", "--finetuned", "first-finetune", "--shard-size", "16"],
            "train": ["dataset", *training], "evaluate": ["dataset", "first-train", "--test", "none"]}


def print_processes(folder: Path, repeats: int) -> None:
    """Run every stage by one process and by two, in turns."""
    from tslrec_min.bench.synthetic import write_interactions
    from tslrec_min.bench.tiny_model import write_tiny_model
    from tslrec_min.configs import PrepareConfig
    from tslrec_min.data.prepare import prepare

    (folder / "raw").mkdir()
    prepare(write_interactions(folder / "raw", users=8_000, items=2_000, seed=0), folder / "dataset",
            PrepareConfig(k_core=2))
    model = str(write_tiny_model(folder / "model", ["A person liked these items, oldest first:\n- Quiet Harbour"], 0))
    rows = []
    for name, words in stages(model).items():
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(repeats):
            for count, found in seconds.items():
                out = f"first-{name}" if (turn, count) == (0, 1) else f"{name}-{turn}-{count}"
                launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if count > 1 else []
                subprocess.run([sys.executable, *launcher, "-m", "tslrec_min.cli", name, *words, "-o", out, "--threads",
                                "1"], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                               env=os.environ | {"OMP_NUM_THREADS": "1"})
                found.append(json.loads((folder / out / "config.json").read_text())["wall_seconds"])
        one, two = (statistics.median(seconds[count]) for count in (1, 2))
        rows.append((name, f"{one:.2f}", f"{two:.2f}", f"{one / two:.2f}"))
    print(table(("stage", "1 process s", "2 processes s", "speed-up"), rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds (default: 3)")
    parser.add_argument("--processes", action="store_true", help="measure one process and two instead of the curves")
    arguments = parser.parse_args()
    load = f"load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    print(f"CPU: {cpu_name()}, {os.cpu_count()} processors; {load}")
    if not arguments.processes:
        print_curves(arguments.repeats)
        return
    with tempfile.TemporaryDirectory() as folder:
        print_processes(Path(folder), arguments.repeats)


if __name__ == "__main__":
    main()
