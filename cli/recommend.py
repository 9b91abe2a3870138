"""``tslrec recommend``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..configs import RECOMMENDATION_FORMATS
from .options import DATASET, PATH, ArtifactFolder, device_option, format_of, start_torch, threads_option


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("run", type=ArtifactFolder("train"))
@click.option("--users", type=PATH, help="Only these users of the data set: a file with one id per line, or - for "
                                         "standard input.")
@click.option("--histories", type=PATH, help="New histories instead of users: a file with one per line (see above), or "
                                             "- for standard input.")
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Number of items per user.")
@click.option("--keep-seen", is_flag=True, help="Recommend items of the user's history too.")
@click.option("--titles", is_flag=True, help="Write the items' titles too.")
@click.option("--unknown", type=click.Choice(("refuse", "skip")), default="refuse", show_default=True,
              help="How to treat ids that the data set doesn't have: stop at the first, or leave out and count them.")
@click.option("--format", "output_format", type=click.Choice(RECOMMENDATION_FORMATS),
              help="Output format; parquet needs the extra tslrec-min[parquet].  [default: by the ending of "
                   "--out: .jsonl, .csv, .parquet; without --out jsonl]")
@click.option("--out", "-o", type=PATH, help="File to write; it appears once complete.  [default: standard output]")
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
@threads_option
@device_option
def recommend(dataset: Path, run: Path, users: Path | None, histories: Path | None, k: int, keep_seen: bool,
              titles: bool, unknown: str, output_format: str | None, out: Path | None, overwrite: bool, threads: int,
              device: str) -> None:
    """Recommend the best items for every user, by RUN, a folder that tslrec train or tslrec fuse wrote.

    The history of a user of the data set includes the validation and test items, which an evaluation hides. "history"
    in the output is "stored" for these users, and "given" for --histories. Items of the history are left out unless
    --keep-seen is given. Users are read in blocks, so memory does not grow with their number.

    A line of --histories is JSON, {"user": "u", "items": ["i1", "i2"]}, or "u i1 i2", the oldest item first; the first
    line decides the form of all lines. Ids with white space need JSON.

    JSON lines have one user per line, with items and scores, the best first. CSV and Parquet have one item per row:
    user, history, rank, item, score.

    \b
    Examples:
        tslrec recommend dataset sasrec -o recommendations.jsonl
        tslrec recommend dataset sasrec --users users.txt -k 20 --titles -o recommendations.csv
        tslrec recommend dataset sasrec --histories sessions.jsonl --unknown skip -o recommendations.parquet
        echo "me 50 172 181" | tslrec recommend dataset sasrec --histories - --titles
    """
    if users is not None and histories is not None:
        raise click.UsageError("--users and --histories are both given; give one of them")
    if out is not None:
        output_format = format_of(out, output_format, {f".{name}": name for name in RECOMMENDATION_FORMATS})
    elif output_format == "parquet":
        raise click.UsageError("--format parquet needs a file: give --out")
    torch_device = start_torch(device, threads)
    from ..recommendation.recommend import RecommendOptions
    from ..recommendation.recommend import recommend as recommend_items

    options = RecommendOptions(k, keep_seen, titles, unknown == "skip", output_format or "jsonl")
    n_users, left_out = recommend_items(dataset, run, out or sys.stdout.buffer, options, users=users,
                                        histories=histories, device=torch_device, threads=threads, overwrite=overwrite)
    if left_out.items or left_out.users:
        click.echo(f"left out: {left_out.items} unknown items of histories, {left_out.users} users that are unknown or "
                   "have no known item", err=True)
    elif not n_users:
        click.echo(f"{'--users' if histories is None else '--histories'} has no line; there is nothing to recommend",
                   err=True)
    if out:
        click.echo(f"{out}: {n_users} users", err=True)
