"""Where the time of SASRec's training goes on MovieLens-1M: seconds per epoch, tokens a second, share of products.

Some steps of an epoch run under torch's profiler; the times of its operations are summed by what they are for. The
last columns say what the matrix products would take if they all ran as fast as one large product on the same threads
in the same run: what is left on the table.
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
from tslrec_min.recommenders.adapters import build_adapter
from tslrec_min.recommenders.models import build_recommender
from tslrec_min.recommenders.training import TrainingRun

KINDS = (
    ("matrix products", ("aten::mm", "aten::addmm", "aten::bmm", "aten::addmm_")),
    ("attention", ("aten::_scaled_dot_product", "_PackedSelfAttention")),
    ("LayerNorm, GELU, dropout", ("_NormLinear", "_AddLinear", "_AddFeedForward", "aten::gelu",
                                  "aten::native_layer_norm", "_Drop")),
    ("softmax of the loss", ("aten::_log_softmax", "aten::exp_", "aten::gather", "aten::scatter")),
    ("item vectors", ("aten::embedding", "aten::index_select", "aten::index_add")),
    ("optimiser and clipping", ("aten::_fused_adamw", "aten::_foreach", "aten::linalg_vector_norm")),
    ("copies, sums and fills", ("aten::copy_", "aten::add", "aten::sum", "aten::mul", "aten::fill_", "aten::zero_")),
)
"""What operations, by the beginnings of their names, are for."""


def product_flops(config: TrainConfig, n_items: int, n_tokens: int, n_targets: int) -> float:
    """Return the multiplications and additions of the linear layers and of the scores, forward and backward."""
    layers = config.blocks * 12 * config.width**2 * n_tokens  # query, key, value, output: 4; feed-forward: 8
    return 3 * 2 * (layers + n_items * config.width * n_targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed (default: 20)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config, dataset = TrainConfig(max_len=200, batch_size=64, dropout=0.2), real_dataset("ml-1m")
    recommender = build_recommender(build_adapter(config, dataset.n_items, None, dataset.training()),
                                    config)
    run = TrainingRun(recommender, dataset.training(), config, torch.device("cpu"), arguments.threads)
    recommender.train()
    windows, batches = run.plan(1)
    lengths = np.minimum(windows.input_stop - windows.row_start, config.max_len)
    n_targets = int((windows.input_stop + 1 - windows.first_target).sum())
    run.learn(windows, batches[0])
    timed = batches[1:1 + arguments.steps]
    seconds = step_seconds(run, windows, timed)
    share = sum(map(len, timed)) / len(windows)
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
    print(f"SASRec on MovieLens-1M: width {config.width}, {config.blocks} blocks, max_len {config.max_len}, batches of "
          f"{config.batch_size}, {arguments.threads} threads, torch {torch.__version__}")
    print(f"epoch {epoch:.1f} s; {lengths.sum() / epoch:,.0f} items read and {n_targets / epoch:,.0f} targets learned "
          f"a second; a 2048 x 2048 product: {peak / 1e9:.0f} GFLOP/s\n")
    rows = [[kind, f"{value / total:.1%}", f"{epoch * value / total:.1f}",
             f"{ideal:.1f}" if kind == "matrix products" else ""]
            for kind, value in sorted(spent.items(), key=lambda pair: -pair[1])]
    print(table(("part", "share", "s of an epoch", "s at full speed"), rows))


if __name__ == "__main__":
    main()
