"""``tslrec run``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import click

from ..config_fields import from_mapping, overlaid
from ..configs import PrepareConfig
from ..data.builtin import DATASETS
from .formats import formatted
from .options import PATH, GivenPath, device_option, given_options, json_option, threads_option
from .tables import print_finetuning, print_neighbours, print_next_commands, print_stages

BUILT_IN = "quickstart"
"""Name of the configuration that comes with the package."""
_NAMES = (BUILT_IN, *DATASETS)


@click.command()
@click.argument("source", type=GivenPath("give interactions, a file or folder, a .toml file, or "
                                         f"{' or '.join(_NAMES)}", names=_NAMES))
@click.option("--out", "-o", type=PATH, help="Folder of the run.  [default: runs/SOURCE, runs/SOURCE-DATA with --data]")
@click.option("--data", type=GivenPath("give a file or folder of interactions", names=DATASETS),
              help="File or folder of interactions, in place of the configuration's source.")
@click.option("--items", type=GivenPath("name the file with the titles"),
              help="File with the item titles.  [default: the one beside the interactions]")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Recommenders trained at a time. "
              "They share --threads; on a CPU as many jobs as threads are faster than one job with all threads.")
@device_option
@threads_option
@json_option
@given_options(PrepareConfig, "prepare")
def run(source: Path, out: Path | None, data: Path | None, items: Path | None, jobs: int, device: str, threads: int,
        as_json: bool, prepare: Mapping[str, Any]) -> None:
    """Run the whole chain on SOURCE: your interactions, a .toml file that describes the chain, or quickstart.

    A file or folder of interactions, as for tslrec prepare, is worked on as quickstart works on MovieLens-100K. The
    options of tslrec prepare, such as the names of columns, stand in place of those of the configuration.

    Every stage has its folder. Stages that are finished are kept when the command is run again, unless their
    inputs or their part of the configuration changed. It ends with a table: the recommender with ids only, with
    embeddings of the language model before fine-tuning, and with TSLRec's; and with the commands that use them.

    \b
    Examples:
        tslrec run quickstart
        tslrec run ratings.csv --items movies.csv --user-column userId --item-column movieId
        tslrec run my-configuration.toml --jobs 2
        tslrec run my-configuration.toml --data my-folder -o runs/mine
    """
    from ..pipeline.config import load_run_config
    from ..pipeline.run import run as run_chain

    built_in = str(source) == BUILT_IN and not source.exists()
    described = built_in or source.suffix == ".toml"
    if not described:
        if data is not None:
            raise click.UsageError(f"{source} and --data {data} are both interactions; give one of them, or a .toml "
                                   "file and --data")
        data = source
    if described and not built_in:
        config = load_run_config(source)
    else:
        with as_file(files("tslrec_min") / "pipeline" / f"{BUILT_IN}.toml") as path:
            config = load_run_config(path)
    prepare = overlaid(PrepareConfig, asdict(config.stages["prepare"]), prepare)
    config = replace(config, stages={**config.stages, "prepare": from_mapping(PrepareConfig, prepare, "")})
    if out is None:  # a folder for each pair of a configuration and data
        names = [source, *([] if data is None or not described else [data])]
        out = Path("runs") / "-".join(name.resolve().name.split(".")[0] for name in names)
    result = run_chain(config, out, data=data, items=items, device_name=device, threads=threads, jobs=jobs)
    if as_json:
        click.echo(json.dumps(result))
        return
    print_stages(result["stages"])
    click.echo()
    if any(stage["name"] == "finetune" for stage in result["stages"]):
        print_finetuning(out / "finetune", as_json=False)
        print_neighbours(result["category_neighbours"])
        click.echo()
    click.echo(formatted(result["evaluation"], "table"))
    print_next_commands(out, result["stages"])
