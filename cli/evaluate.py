"""``tslrec evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from ..configs import EvaluateConfig
from ..storage.artifacts import expect_artifact
from ..storage.existing import Existing
from .formats import format_option, formatted
from .options import DATASET, PATH, VECTORS_PATH, config_options, stage_options, start_torch, writes_output


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", "-o", type=PATH, help="Folder to store the metrics and every user's ranks in.")
@click.option("--list-vectors", type=VECTORS_PATH, help="Folder that tslrec embed wrote, or a file of item vectors: "
              "report how different the items of a list are, too.")
@format_option
@config_options(EvaluateConfig)
@stage_options
def evaluate(dataset: Path, runs: tuple[str, ...], out: Path | None, list_vectors: Path | None, output_format: str,
             config: EvaluateConfig, device: str, threads: int, existing: Existing, as_json: bool) -> None:
    """Rank every user's target among all items: HR@k, NDCG@k and MRR.

    RUNS are folders that tslrec train or tslrec fuse wrote, as PATH or NAME=PATH; runs with the same name are the
    seeds of one arm and are summarised as mean and standard deviation. The other arms are compared with the first one
    by a paired test over users, with p-values corrected for all comparisons (Holm). Items of the user's history are
    left out of the ranking ("filtered"); the figures with them ("unfiltered") are reported too. Groups: users whose
    target is popular (head) or not (tail), and users with a short or long training history. If the data set has cold
    items, another table shows their metrics. The last table describes every user's 10 best items: how much of the
    catalogue they cover, and how popular and how novel they are. tslrec compare combines stored results.

    \b
    Examples:
        tslrec evaluate dataset ids=ids-0 ids=ids-1 tslrec=tslrec-0 tslrec=tslrec-1
        tslrec evaluate dataset ids-0 tslrec-0 -o results --format markdown
    """
    from ..evaluation.arms import parse_arms, parse_named_folder

    for run in runs:  # before torch is loaded
        expect_artifact(parse_named_folder(run)[1], "train")
    torch_device = start_torch(device, threads, processes=True)
    from ..evaluation.evaluate import evaluate as evaluate_runs

    report = evaluate_runs(dataset, parse_arms(runs), config, out=out, list_vectors=list_vectors,
                           device=torch_device, threads=threads, existing=existing)
    if writes_output():
        click.echo(formatted(report, "json" if as_json else output_format))
