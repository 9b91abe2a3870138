"""``tslrec fuse``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..storage.existing import Existing
from .options import DATASET, ArtifactFolder, out_option, stage_options, start_torch
from .tables import print_fusion


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("parts", nargs=-1, required=True)
@out_option("Folder of the sum.")
@click.option("--weights-from", type=ArtifactFolder("train"), help="Take over the weights of this sum, whose parts "
              "have the same names, instead of fitting them: for parts trained with --refit.")
@stage_options
def fuse(dataset: Path, parts: tuple[str, ...], out: Path, weights_from: Path | None, device: str, threads: int,
         existing: Existing, as_json: bool) -> None:
    """Sum the scores of several recommenders, each where it is good.

    PARTS are PATH or NAME=PATH: folders that tslrec train wrote; item embeddings, a folder that tslrec embed wrote or a
    file of vectors, which become train's --model content; or the words popularity, itemknn and transitions. Their order
    has no effect. Scores are brought to one scale for every user. The weight of a part depends on how often an item
    occurs in training; the weights are fitted on validation targets. The result is evaluated and recommends like any
    other run.

    The table shows what each part brings: NDCG@10 on validation targets of the part alone, and of the sum without it,
    with weights that were fitted on other users.

    \b
    Examples:
        tslrec fuse dataset transitions titles=embed -o without-training
        tslrec fuse dataset transitions embed sasrec-0 sasrec-1 -o system
        tslrec fuse dataset transitions embed sasrec-0=refit-0 sasrec-1=refit-1 --weights-from system -o serving
    """
    from ..evaluation.arms import parse_named_folder
    from ..recommenders.fusion.parts import check_parts, part_of

    if len(parts) < 2:
        raise click.UsageError("a sum has at least two PARTS")
    check_parts(chosen := [part_of(*parse_named_folder(part)) for part in parts])  # before torch is loaded
    torch_device = start_torch(device, threads)
    from ..recommenders.fuse import fuse as fuse_parts

    metrics = fuse_parts(dataset, chosen, out, weights_from=weights_from, device=torch_device, threads=threads,
                         existing=existing)
    if as_json:
        click.echo(json.dumps(metrics))
    else:
        print_fusion(out, metrics)
