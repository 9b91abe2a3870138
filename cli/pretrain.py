"""``tslrec pretrain``."""

from __future__ import annotations

from pathlib import Path

import click

from ..configs import PretrainConfig
from ..storage.existing import Existing
from .options import DATASET, config_options, out_option, stage_options, start_torch, writes_output
from .tables import print_training


@click.command()
@click.argument("dataset", type=DATASET)
@out_option("Folder of the pretrained recommender and the latent categories.")
@config_options(PretrainConfig)
@stage_options
def pretrain(dataset: Path, out: Path, config: PretrainConfig, device: str, threads: int, existing: Existing,
             as_json: bool) -> None:
    """Train a recommender on item ids and cluster its items into latent categories.

    \b
    Example:
        tslrec pretrain dataset -o pretrain --categories 32
    """
    torch_device = start_torch(device, threads, processes=True)
    from ..categories.pretrain import pretrain as pretrain_recommender

    pretrain_recommender(dataset, out, config, device=torch_device, threads=threads, existing=existing)
    if writes_output():
        print_training(out, as_json)
