"""``tslrec prepare``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..configs import PrepareConfig
from ..storage.existing import Existing
from .options import PATH, config_options, json_option, overwrite_option
from .tables import print_statistics


@click.command()
@click.argument("source", type=PATH)
@click.option("--out", "-o", type=PATH, help="Folder of the data set; required unless --dry-run is given.")
@click.option("--items", type=PATH, help="File with the item titles; default: the one beside the interactions.")
@config_options(PrepareConfig)
@click.option("--dry-run", is_flag=True, help="Print the statistics and write nothing.")
@overwrite_option
@json_option
def prepare(source: Path, out: Path | None, items: Path | None, config: PrepareConfig, dry_run: bool,
            existing: Existing, as_json: bool) -> None:
    """Read interactions and titles, filter, order and split them.

    SOURCE is a file of interactions, a folder that contains one, or the name ml-100k. Formats: CSV, TSV and JSON Lines
    with columns named by flags; Parquet; RecBole atomic files (.inter, .item); MovieLens, as a downloaded zip archive
    or unpacked; Amazon reviews of 2014, 2018 and 2023 beside their meta_ files; Yelp; Steam; and sequences
    (`user item item ...` per line). Text files can be compressed with gzip. Rows are read in chunks, so memory does not
    depend on the length of texts.

    By default the last item of every history is the test target, the one before it the validation target; with
    --split temporal training ends at one time for all users. With --cold-items some items are held out of training
    altogether, for the cold-start table of evaluate.

    \b
    Examples:
        tslrec prepare ml-100k -o dataset
        tslrec prepare ml-100k --cold-items 0.1 -o with-cold-items
        tslrec prepare ratings.csv --items movies.csv --user-column userId --item-column movieId -o dataset
        tslrec prepare ml-1m.zip --split temporal -o dataset
        tslrec prepare reviews_Beauty_5.json.gz --missing-titles blank -o dataset
        tslrec prepare Video_Games.jsonl.gz --min-rating 4 --from-time 2018-01-01 --dry-run
    """
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out' / '-o': the folder of the data set; or give --dry-run.")
    from ..data.builtin import resolve_dataset
    from ..data.prepare import examine
    from ..data.prepare import prepare as prepare_dataset

    interactions, known_items = resolve_dataset(source)
    if out is None or dry_run:
        summary = examine(interactions, config, items=items or known_items)
    else:
        summary = prepare_dataset(interactions, out, config, items=items or known_items, existing=existing)
    click.echo(json.dumps(summary)) if as_json else print_statistics(summary)
