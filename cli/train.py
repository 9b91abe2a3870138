"""``tslrec train``."""

from __future__ import annotations

from pathlib import Path

import click

from ..configs import TrainConfig
from .options import PATH, config_options, out_option, stage_options, start_torch
from .tables import print_training


@click.command()
@click.argument("dataset", type=PATH)
@out_option("Folder of the trained recommender.")
@click.option("--embeddings", type=PATH, help="Item embeddings: a folder that tslrec embed wrote.")
@config_options(TrainConfig)
@stage_options
def train(dataset: Path, out: Path, embeddings: Path | None, config: TrainConfig, device: str, threads: int,
          existing: str, as_json: bool) -> None:
    """Train SASRec, with item embeddings through an adapter or without.

    \b
    Examples:
        tslrec train dataset -o ids-only
        tslrec train dataset --embeddings embed --adapter init -o with-embeddings
    """
    torch_device = start_torch(device, threads)
    from ..recommenders import train as train_recommender

    train_recommender(dataset, out, config, embeddings_path=embeddings, device=torch_device, threads=threads,
                      existing=existing)
    print_training(out, as_json)
