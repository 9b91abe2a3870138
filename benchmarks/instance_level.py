"""One sample per user against one per interaction, on MovieLens-100K: samples, tokens, seconds, downstream NDCG@10.

An epoch of instances is about a hundred times an epoch of users, so the instances of as many users are learned from as
have about the tokens of all users; what a whole epoch would take is worked out from its tokens. The held-out users and
everything downstream are those of ``coreset.py``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import torch
from _data import real_dataset
from coreset import config_of, pretrained_categories, run

from tslrec_min.categories.artifact import Categories
from tslrec_min.cli.tables import table
from tslrec_min.configs import FinetuneConfig
from tslrec_min.data.dataset import Dataset
from tslrec_min.finetuning.samples import Samples, make_samples
from tslrec_min.llm.gguf.tokenizer import load_tokenizer
from tslrec_min.llm.prompts import template_of


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=0, help="users learned from, one sample each; 0: all")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vars(options).update(max_history=16, max_title_tokens=48, lora_layers=0, pretrain_epochs=20, downstream=True)
    dataset = real_dataset("ml-100k")
    categories = pretrained_categories(dataset, options)
    of_users = replace(config_of(dataset, 1.0, "random", options), users=options.users)
    wanted = samples_of(dataset, categories, of_users).tokens
    of_instances = replace(of_users, level="instance", users=0)
    whole = samples_of(dataset, categories, of_instances)
    some = next(count for count in range(1, dataset.n_users) if samples_of(
        dataset, categories, replace(of_instances, users=count)).tokens >= wanted)
    rows = []
    for config in (of_users, replace(of_instances, users=some)):
        found = run(dataset, categories, config, options)
        print(found, file=sys.stderr, flush=True)
        rows.append((config.level, f"{found['users']:,}", f"{found['samples']:,}", f"{found['tokens']:,}",
                     f"{found['seconds']:.0f}", f"{found['loss']:.4f}", f"{found['validation NDCG@10']:.4f}"))
    seconds = found["seconds"] * whole.tokens / found["tokens"]
    rows.append(("instance (not run)", "all", f"{len(whole):,}", f"{whole.tokens:,}", f"{seconds:.0f}", "", ""))
    print(table(("level", "users", "samples", "tokens", "seconds", "held-out KL", "validation NDCG@10"), rows))


def samples_of(dataset: Dataset, categories: Categories, config: FinetuneConfig) -> Samples:
    """Return the training samples of a configuration."""
    return make_samples(dataset, categories, load_tokenizer(config.model), template_of(config), config,
                        context_length=2048).training


if __name__ == "__main__":
    main()
