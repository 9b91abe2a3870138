"""``tslrec prepare``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..configs import PrepareConfig
from .options import PATH, config_options, json_option, out_option, overwrite_option
from .tables import print_statistics


@click.command()
@click.argument("source", type=PATH)
@out_option("Folder of the data set.")
@click.option("--items", type=PATH, help="File with the item titles; by default the one beside the interactions.")
@config_options(PrepareConfig)
@overwrite_option
@json_option
def prepare(source: Path, out: Path, items: Path | None, config: PrepareConfig, existing: str, as_json: bool) -> None:
    """Read interactions and titles, filter, order and split them.

    SOURCE is a file of interactions, a folder that holds one, or the name ml-100k. Formats: RecBole atomic files
    (.inter, .item), CSV or TSV with a header, MovieLens .dat, and sequences (`user item item ...` a line) with
    an items file. The last item of every history is the test target, the one before it the validation target.
    With --cold-items some items are held out of training altogether, for evaluate's cold-start table.

    \b
    Examples:
        tslrec prepare ml-100k -o dataset
        tslrec prepare ml-100k --cold-items 0.1 -o with-cold-items
        tslrec prepare ratings.csv --items movies.csv --user-column userId --item-column movieId -o dataset
    """
    from ..data.preparation import prepare as prepare_dataset
    from ..sources import resolve_dataset

    interactions, known_items = resolve_dataset(source)
    summary = prepare_dataset(interactions, out, config, items=items or known_items, existing=existing)
    click.echo(json.dumps(summary)) if as_json else print_statistics(summary)
