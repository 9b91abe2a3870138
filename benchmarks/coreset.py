"""Fine-tuning on a part of the users: held-out loss and downstream NDCG@10 against the share, random and coverage.

Every run has the same held-out users. Fewer users are seen in smaller batches and more often, so that all runs have
about as many optimiser steps (the table says how many tokens each has read). Downstream: SASRec started from the
item embeddings of the fine-tuned weights (adapter ``init``), NDCG@10 on the validation split; in bfloat16, where that
is what `tslrec finetune` takes, these weights are the rounded ones plus the update. Finished runs are kept in a file of
JSON lines, so that an interrupted study goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _data import real_dataset

from tslrec_min.categories.artifact import Categories
from tslrec_min.categories.clustering import latent_categories
from tslrec_min.cli.tables import table
from tslrec_min.configs import FinetuneConfig, PretrainConfig, TrainConfig
from tslrec_min.data.dataset import Dataset, Histories
from tslrec_min.finetuning.head import PreferenceModel
from tslrec_min.finetuning.samples import make_samples
from tslrec_min.finetuning.training import fine_tune
from tslrec_min.llm.engines.torch_engine import TorchEngine
from tslrec_min.llm.lora import add_lora, merge_lora
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.packed_decoder import PackedDecoder
from tslrec_min.llm.prompts import template_of
from tslrec_min.recommenders.training import trained
from tslrec_min.runtime.device import resolve_precision

CPU = torch.device("cpu")
SCHEDULES = {1.0: (16, 1), 0.5: (8, 1), 0.25: (8, 2), 0.1: (8, 4)}  # share of users -> batch size, epochs
SASREC = {"dropout": 0.3, "max_len": 50, "epochs": 20, "patience": 5}


def main() -> None:
    """Run what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="file of JSON lines")
    parser.add_argument("--data", choices=("ml-100k", "amazon-beauty"), default="ml-100k")
    parser.add_argument("--population", type=int, default=0, help="users, drawn at random; 0: all")
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.1])
    parser.add_argument("--max-history", type=int, default=16)
    parser.add_argument("--max-title-tokens", type=int, default=48)
    parser.add_argument("--lora-layers", type=int, default=0)
    parser.add_argument("--pretrain-epochs", type=int, default=20)
    parser.add_argument("--window", choices=("recent", "random"), default="recent", help="see tslrec finetune")
    parser.add_argument("--virtual-users", type=float, default=0.0, help="of all runs; see tslrec finetune")
    parser.add_argument("--epochs", type=int, help="passes over fewer users than all; not set: see the table")
    parser.add_argument("--downstream", action="store_true", help="embed the items and train SASRec too")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = real_dataset(options.data)
    categories = pretrained_categories(dataset, options)
    if options.population:
        dataset = some_users(dataset, options.population)
    done = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    for share in options.shares:
        for select in ("random", "coverage") if share < 1 else ("random",):
            config = config_of(dataset, share, select, options)
            wanted = {"data": options.data, "share": share, "select": select, "window": config.window,
                      "epochs": config.epochs, "virtual_users": config.virtual_users,
                      "precision": str(resolve_precision(config.precision, CPU))}
            if not any(wanted.items() <= run.items() for run in done):
                done.append(wanted | run(dataset, categories, config, options))
                with open(options.results, "a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    print_table([run for run in done if run["data"] == options.data])


def pretrained_categories(dataset: Dataset, options: argparse.Namespace) -> Categories:
    """Cluster the items as `tslrec pretrain` does."""
    config = PretrainConfig(**SASREC | {"epochs": options.pretrain_epochs})
    validation = dataset.within_training()
    recommender, _ = trained(dataset.n_items, validation.histories, validation, config, None, CPU, options.threads)
    table = recommender.item_table().detach().numpy()
    solution = latent_categories(table, validation.histories, config.categories, restarts=config.kmeans_restarts,
                                 seed=config.seed)
    return Categories(solution.labels, solution.centroids)


def some_users(dataset: Dataset, count: int) -> Dataset:
    """Return the data set with the histories of some users alone; the catalogue stays."""
    users = np.sort(np.random.default_rng(0).choice(dataset.n_users, count, replace=False))
    items = [dataset.histories.of(user) for user in users]
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in items])]).astype(np.int64)
    return replace(dataset, histories=Histories(indptr, np.concatenate(items)), timestamps=None,
                   user_ids=[dataset.user_ids[user] for user in users])


def config_of(dataset: Dataset, share: float, select: str, options: argparse.Namespace) -> FinetuneConfig:
    """Return how a share of the users is learned from."""
    size, epochs = SCHEDULES[share]
    config = FinetuneConfig(max_history=options.max_history, max_title_tokens=options.max_title_tokens, epochs=epochs,
                            lora_layers=options.lora_layers, batch_size=size, select=select,
                            virtual_users=options.virtual_users)
    trainable = dataset.n_users - max(2, round(config.holdout * dataset.n_users))
    if share == 1:
        return config
    return replace(config, users=round(share * trainable), window=options.window, epochs=options.epochs or epochs)


def run(dataset: Dataset, categories: Categories, config: FinetuneConfig, options: argparse.Namespace
        ) -> dict[str, Any]:
    """Fine-tune, and train SASRec with what comes of it."""
    torch.manual_seed(config.seed)
    language_model = load_language_model(config.model, dtype=resolve_precision(config.precision, CPU))
    network, template = language_model.network, template_of(config)
    layers = network.config.num_hidden_layers
    add_lora(network, rank=config.lora_rank, alpha=config.lora_alpha,
             layers=range(layers - (config.lora_layers or layers), layers))
    model = PreferenceModel(PackedDecoder(network), categories.n_categories)
    samples = make_samples(dataset, categories, language_model.tokenizer, template, config,
                           context_length=network.config.max_position_embeddings)
    started = time.perf_counter()
    metrics = fine_tune(model, samples.training, samples.held_out, config)
    found = {"users": samples.report["training_users"], "samples": len(samples.training),
             "items_covered": samples.report["items_covered"],
             "tokens": samples.training.tokens * config.epochs, "seconds": time.perf_counter() - started,
             "loss": metrics["best"], "baseline": metrics["baseline"]}
    if options.downstream:
        merge_lora(network)
        network.float()
        prompts = template.tokenize_all([[title] for title in dataset.titles], language_model.tokenizer)
        vectors = np.zeros((dataset.n_items + 1, network.config.hidden_size), np.float32)
        with TorchEngine(network) as engine:
            vectors[1:] = engine.embed(prompts)
        _, metrics = trained(dataset.n_items, dataset.training(), dataset.evaluation("validation"),
                             TrainConfig(adapter="init", init_whitening=False, table_std=0.02, **SASREC), vectors, CPU,
                             options.threads)
        found["validation NDCG@10"] = metrics["validation_ndcg@10"]
    return found


def print_table(runs: list[dict[str, Any]]) -> None:
    """Print the losses beside that of all users."""
    whole = next((run["loss"] for run in runs if run["share"] == 1), None)
    rows = []
    for run in sorted(runs, key=lambda run: (-run["share"], run["select"], run["epochs"])):
        ndcg = run.get("validation NDCG@10")
        rows.append((f"{run['share']:.0%}", run["select"] if run["share"] < 1 else "all", run["window"],
                     str(run["epochs"]), f"{run['users']:,}", f"{run['items_covered']:.0%}", f"{run['tokens']:,}",
                     f"{run['loss']:.4f}", "" if whole is None else f"{run['loss'] / whole - 1:+.1%}",
                     "" if ndcg is None else f"{ndcg:.4f}"))
    print(table(("share", "select", "window", "epochs", "users", "items covered", "tokens read", "held-out KL",
                 "against all", "validation NDCG@10"), rows))
    print(f"constant predictor: {runs[0]['baseline']:.4f}")


if __name__ == "__main__":
    main()
