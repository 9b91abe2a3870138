"""``tslrec report``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .options import PATH, json_option


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", "-o", type=PATH, default="report.html", show_default=True, help="The page to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
@json_option
def report(runs: tuple[str, ...], out: Path, overwrite: bool, as_json: bool) -> None:
    """Write one HTML page with what a reader needs to judge a run.

    RUNS are folders of tslrec run, as PATH or NAME=PATH, or of single stages; single stages with the same NAME, or
    with none, are taken together as one run. Sections whose artifacts are missing are left out, and the page says
    so. The page loads nothing from elsewhere, contains no script, and shows neither user ids nor paths. Pictures
    need matplotlib: pip install 'tslrec-min[report]'.

    \b
    Examples:
        tslrec report runs/quickstart -o report.html
        tslrec report small=runs/ml-100k large=runs/ml-1m -o both.html
        tslrec report dataset pretrain sasrec results
    """
    from ..report.report import write_report

    lacking = write_report(runs, out, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps({"page": str(out), "bytes": out.stat().st_size,
                               "lacking": {run: list(kinds) for run, kinds in lacking.items()}}))
        return
    click.echo(f"{out}: {len(lacking)} run{'s' if len(lacking) > 1 else ''}, {out.stat().st_size / 1000:,.0f} kB")
    for run, kinds in lacking.items():
        if kinds:
            click.echo(f"{run}: without {', '.join(kinds)}", err=True)
