"""Where the time of a training on MovieLens-1M or Amazon Beauty goes: seconds per epoch, share of products, padding.

Some steps of an epoch run under torch's profiler; the times of its operations are summed by what they are for. The
last columns say what the matrix products would take if they all ran as fast as one large product on the same threads
in the same run: what is left on the table. Before, the same steps are timed on padded sequences as well, in turns with
those on packed ones.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import torch
from _data import medians, real_dataset, step_seconds
from torch.profiler import ProfilerActivity, profile

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.configs import TrainConfig
from tslrec_min.data.dataset import Dataset
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.models import build_recommender
from tslrec_min.recommenders.training import TrainingRun

KINDS = (
    ("matrix products", ("aten::mm", "aten::addmm", "aten::bmm", "aten::addmm_")),
    ("attention", ("aten::_scaled_dot_product", "_PackedSelfAttention")),
    ("frequency filter", ("_CausalFilter",)),
    ("LayerNorm, GELU, dropout", ("_NormLinear", "_Add", "aten::gelu", "aten::native_layer_norm", "_Drop")),
    ("softmax of the loss", ("_FullSoftmax", "aten::_log_softmax", "aten::exp_", "aten::gather", "aten::scatter")),
    ("item vectors", ("aten::embedding", "aten::index_select", "aten::index_add")),
    ("optimiser and clipping", ("aten::_fused_adamw", "aten::_foreach", "aten::linalg_vector_norm")),
    ("copies, sums and fills", ("aten::copy_", "aten::add", "aten::sum", "aten::mul", "aten::fill_", "aten::zero_")),
)
"""What operations, by the beginnings of their names, are for."""
SETTINGS = {"ml-1m": {"max_len": 200, "batch_size": 64}, "amazon-beauty": {"max_len": 50, "batch_size": 128}}
"""Of the training, for each data set."""


def product_flops(config: TrainConfig, n_items: int, n_tokens: int, n_targets: int) -> float:
    """Return the multiplications and additions of the linear layers and of the scores, forward and backward."""
    layers = config.blocks * 12 * config.width**2 * n_tokens  # query, key, value, output: 4; feed-forward: 8
    return 3 * 2 * (layers + n_items * config.width * n_targets)


def begun(config: TrainConfig, dataset: Dataset, threads: int, *, packs: bool) -> TrainingRun:
    """Return a training at its beginning, on packed sequences if it `packs`, else on padded ones."""
    torch.manual_seed(0)
    adapter = build_adapter(config, dataset.n_items, None, dataset.training())
    run = TrainingRun(build_recommender(adapter, config), dataset.training(), config, torch.device("cpu"), threads)
    run.recommender.backbone.packable &= packs
    run.recommender.train()
    return run


def packed_and_padded(config: TrainConfig, dataset: Dataset, threads: int, steps: int) -> dict[str, float]:
    """Return the median seconds of a step of each, in turns on the same batches."""
    runs = {name: begun(config, dataset, threads, packs=name == "packed") for name in ("packed", "padded")}
    windows, batches = runs["packed"].plan(1)
    left = {name: iter(batches) for name in runs}
    return medians({name: lambda name=name: runs[name].learn(windows, next(left[name])) for name in runs}, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("sasrec", "bert4rec", "bsarec"), default="sasrec", help="default: sasrec")
    parser.add_argument("--data", choices=SETTINGS, default="ml-1m", help="data set (default: ml-1m)")
    parser.add_argument("--width", type=int, default=64, help="embedding dimension (default: 64)")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed (default: 20)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = TrainConfig(model=arguments.model, width=arguments.width, dropout=0.2, **SETTINGS[arguments.data])
    dataset = real_dataset(arguments.data)
    compared = packed_and_padded(config, dataset, arguments.threads, arguments.steps)
    run = begun(config, dataset, arguments.threads, packs=True)
    windows, batches = run.plan(1)
    lengths = np.minimum(windows.input_stop - windows.row_start, config.max_len)
    run.learn(windows, batches[0])
    timed = batches[1:1 + arguments.steps]
    seconds = step_seconds(run, windows, timed)
    share = sum(map(len, timed)) / len(windows)
    n_targets = round(sum(int((run._batch(windows, chosen).targets > 0).sum()) for chosen in timed) / share)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step_seconds(run, windows, timed)
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        kind = next((kind for kind, names in KINDS if event.key.startswith(names)), "everything else")
        spent[kind] += event.self_cpu_time_total / 1e6
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    peak = 2 * 2048**3 / medians({"product": lambda: left @ right}, 5)["product"]
    epoch, total = sum(seconds) / share, sum(spent.values())
    ideal = product_flops(config, dataset.n_items, int(lengths.sum()), n_targets) / peak
    print(f"{config.model} on {arguments.data}: width {config.width}, {config.blocks} blocks, max_len "
          f"{config.max_len}, batches of {config.batch_size}, {arguments.threads} threads, torch {torch.__version__}")
    packed, padded = compared["packed"], compared["padded"]
    print(f"a step, median: {packed * 1e3:.0f} ms on packed sequences, {padded * 1e3:.0f} ms on padded ones, "
          f"{padded / packed:.2f} times as long")
    print(f"epoch {epoch:.1f} s; {lengths.sum() / epoch:,.0f} items read and {n_targets / epoch:,.0f} targets learned "
          f"a second; a 2048 x 2048 product: {peak / 1e9:.0f} GFLOP/s\n")
    rows = [[kind, f"{value / total:.1%}", f"{epoch * value / total:.1f}",
             f"{ideal:.1f}" if kind == "matrix products" else ""]
            for kind, value in sorted(spent.items(), key=lambda pair: -pair[1])]
    print(table(("part", "share", "s of an epoch", "s at full speed"), rows))


if __name__ == "__main__":
    main()
