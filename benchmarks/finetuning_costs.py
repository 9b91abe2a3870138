"""What the options of `tslrec finetune` cost: users a second and peak memory, one process for each, taking turns.

SmolLM2-135M on users of MovieLens-100K. Only the time of optimiser steps is counted; memory is the process's peak, the
model's loading included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from finetuning import in_turns, peak_memory, prepare_data

VARIANTS: dict[str, dict[str, object]] = {
    "defaults": {},
    "--lora-layers 15": {"lora_layers": 15},
    "--lora-layers 5": {"lora_layers": 5},
    "--checkpointing": {"checkpointing": True},
    "--batch-tokens 256": {"batch_tokens": 256},
    "--batch-tokens 512": {"batch_tokens": 512},
    "--precision bf16": {"precision": "bf16"},
    "--precision fp32": {"precision": "fp32"},
    "--max-history 8": {"max_history": 8},
    "--max-title-tokens 8": {"max_title_tokens": 8},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=32, help="training users; the first step isn't timed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(Path(folder), options.threads)
        runs = in_turns(__file__, VARIANTS, folder, options)
    medians = {name: {key: statistics.median(run[key] for run in of_name) for key in of_name[0]}
               for name, of_name in runs.items()}
    rate = medians["defaults"]["users a second"]
    print("| | users a second | times the defaults' | peak MiB | tokens a user |\n|---|---|---|---|---|")
    for name, values in medians.items():
        print(f"| {name} | {values['users a second']:.2f} | {values['users a second'] / rate:.2f} | "
              f"{values['MiB']:.0f} | {values['tokens']:.0f} |")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Take an epoch's steps with one variant."""
    import torch

    from tslrec_min.categories.artifact import load_categories
    from tslrec_min.configs import FinetuneConfig
    from tslrec_min.data.dataset import load_dataset
    from tslrec_min.finetuning.head import PreferenceModel
    from tslrec_min.finetuning.samples import make_samples
    from tslrec_min.finetuning.training import FinetuningRun
    from tslrec_min.llm.lora import add_lora
    from tslrec_min.llm.model import load_language_model
    from tslrec_min.llm.packed_decoder import PackedDecoder
    from tslrec_min.llm.prompts import template_of
    from tslrec_min.runtime.device import resolve_precision

    torch.set_num_threads(options.threads)
    config = FinetuneConfig(users=options.users, **VARIANTS[options.run])
    dataset, dataset_hash = load_dataset(options.folder / "dataset")
    categories, _ = load_categories(options.folder / "pretrain", dataset, dataset_hash)
    model = load_language_model(config.model, dtype=resolve_precision(config.precision, torch.device("cpu")))
    samples = make_samples(dataset, categories, model.tokenizer, template_of(config), config,
                           context_length=model.network.config.max_position_embeddings)
    layers = model.network.config.num_hidden_layers
    add_lora(model.network, rank=config.lora_rank, alpha=config.lora_alpha,
             layers=range(layers - (config.lora_layers or layers), layers))
    decoder = PackedDecoder(model.network, checkpointing=config.checkpointing)
    run = FinetuningRun(PreferenceModel(decoder, categories.n_categories), samples.training, samples.held_out, config)
    run.learn()
    begin, before = time.perf_counter(), run.users_seen
    while not run.epoch:
        run.learn()
    rate = (len(samples.training) - before) / (time.perf_counter() - begin)
    return {"users a second": rate, "MiB": peak_memory(), "tokens": samples.training.tokens / len(samples.training)}


if __name__ == "__main__":
    main()
