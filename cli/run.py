"""``tslrec run``."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path

import click

from .formats import formatted
from .options import PATH, device_option, json_option, threads_option
from .tables import print_finetuning, print_neighbours, print_stages


@click.command()
@click.argument("config")
@click.option("--out", "-o", type=PATH, help="Folder of the run.  [default: runs/NAME]")
@click.option("--data", type=PATH, help="File or folder of interactions, in place of the configuration's source.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Recommenders trained at a time. "
              "They share --threads; on a CPU as many jobs as threads are faster than one job with all threads.")
@device_option
@threads_option
@json_option
def run(config: str, out: Path | None, data: Path | None, jobs: int, device: str, threads: int, as_json: bool) -> None:
    """Run the whole chain that CONFIG describes: a TOML file, or quickstart.

    Every stage has its folder. Stages that are finished are kept when the command is run again, unless their
    inputs or their part of the configuration changed. It ends with a table: the recommender with ids only, with
    embeddings of the language model before fine-tuning, and with TSLRec's.

    \b
    Examples:
        tslrec run quickstart
        tslrec run quickstart --data my-folder -o runs/mine
    """
    from ..pipeline import load_run_config
    from ..pipeline import run as run_chain

    if config == "quickstart" and not Path(config).exists():
        with as_file(files("tslrec_min") / "quickstart.toml") as path:
            parsed = load_run_config(path)
    else:
        parsed = load_run_config(Path(config))
    out = out or Path("runs") / Path(config).stem
    result = run_chain(parsed, out, data=data, device_name=device, threads=threads, jobs=jobs)
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
