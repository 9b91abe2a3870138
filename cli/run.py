"""``tslrec run``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from ..config_fields import from_mapping, overlaid
from ..configs import PrepareConfig
from ..data.builtin import DATASETS
from .formats import formatted
from .options import PATH, GivenPath, device_option, given_options, json_option, threads_option
from .probe import probe_text
from .tables import print_costs, print_finetuning, print_neighbours, print_next_commands, print_stages

_NAMES = ("quickstart", *DATASETS)


@click.command()
@click.argument("source", type=GivenPath("give a file or folder of interactions, a .toml file, or "
                                         f"{' or '.join(_NAMES)}", names=_NAMES))
@click.option("--out", "-o", type=PATH, help="Folder of the run.  [default: runs/SOURCE, runs/SOURCE-DATA with --data]")
@click.option("--data", type=GivenPath("give a file or folder of interactions", names=DATASETS),
              help="File or folder of interactions, in place of the configuration's source.")
@click.option("--items", type=GivenPath("give the file with the item titles"),
              help="File with the item titles.  [default: the one beside the interactions]")
@click.option("--jobs", type=click.IntRange(1), help="Number of recommenders trained at the same time. They share "
              "--threads; on a CPU, one job per thread is faster than a single job.  [default: as SOURCE says, but at "
              "most --threads; 1 on a GPU]")
@click.option("--serving/--no-serving", default=None, help="At the end, make the best arm again from all items, for "
              "recommendations.  [default: as SOURCE says, else yes]")
@device_option
@threads_option
@json_option
@given_options(PrepareConfig, "prepare")
def run(source: Path, out: Path | None, data: Path | None, items: Path | None, jobs: int | None, serving: bool | None,
        device: str, threads: int, as_json: bool, prepare: Mapping[str, Any]) -> None:
    """Run the whole chain on SOURCE: your interactions, a .toml file that describes the chain, or quickstart.

    A file or folder of interactions, as for tslrec prepare, gets the built-in configuration for few or for many items a
    user. Both are for larger data than quickstart's, and take longer. The options of tslrec prepare, such as the column
    names, override those of the configuration.

    Every stage has its own folder. When the command is repeated, finished stages are kept unless their inputs or their
    part of the configuration changed. At the end tables compare recommenders without training, with item ids only, with
    embeddings of the language model before and after fine-tuning, and sums of them. A sentence says which to use, and
    that arm is made again from all items, for recommendations, in the folder serving. Commands that use the results are
    listed.

    \b
    Examples:
        tslrec run quickstart
        tslrec run ratings.csv --items movies.csv --user-column userId --item-column movieId
        tslrec run my-configuration.toml --jobs 2
        tslrec run my-configuration.toml --data my-folder -o runs/mine
    """
    from ..pipeline.built_in import QUICKSTART, SPARSE, built_in, config_for
    from ..pipeline.config import load_run_config
    from ..pipeline.run import run as run_chain

    names = [source, *([] if data is None else [data])]
    own = source.suffix != ".toml" and (str(source) != QUICKSTART or source.exists())
    if own and data is not None:
        raise click.UsageError(f"{source} and --data {data} are both interactions; give one of them, or a .toml file "
                               "and --data")
    if out is None:  # a folder for each pair of a configuration and data
        out = Path("runs") / "-".join(name.resolve().name.split(".")[0] for name in names)
    config = load_run_config(source) if source.suffix == ".toml" else built_in(SPARSE if own else QUICKSTART)
    values, _ = overlaid(PrepareConfig, asdict(config.stages["prepare"]), prepare)
    preparing = from_mapping(PrepareConfig, values, "")
    if own:
        data, config = source, config_for(source, items, preparing, out)
    else:
        config = replace(config, stages={**config.stages, "prepare": preparing})
    config = replace(config, serving=config.serving if serving is None else serving)
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
    if result["probe"]:
        click.echo("Item embeddings before any recommender is trained on them:")
        click.echo(f"{probe_text(result['probe'])}\n")
    click.echo(formatted(result["evaluation"], "table"))
    click.echo()
    print_costs(result["seconds"], result["jobs"])
    click.echo(f"\n{result['advice']}")
    print_next_commands(out, result["stages"], result["best"])
