"""``tslrec similar``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .options import (
    DATASET,
    VECTORS_PATH,
    ArtifactFolder,
    check_vector_file_options,
    json_option,
    vector_file_options,
    vectors_option,
)
from .tables import table


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("items", metavar="ITEM...", nargs=-1, required=True)
@click.option("--embeddings", type=VECTORS_PATH,
              help="Compare item embeddings: a folder that tslrec embed wrote, or a file as for tslrec train.")
@click.option("--run", type=ArtifactFolder("train"),
              help="Compare a recommender's item table instead: a folder that tslrec train wrote.")
@vectors_option
@vector_file_options
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Number of similar items.")
@json_option
def similar(dataset: Path, items: tuple[str, ...], embeddings: Path | None, run: Path | None, kind: str,
            embedding_ids: Path | None, ignore_unknown: bool, k: int, as_json: bool) -> None:
    """Show the items whose embeddings are nearest to those of ITEM by cosine.

    ITEM is an item id. For an unknown id, items are suggested whose titles contain the text. Item embeddings bring
    together items that the language model finds alike; a recommender's item table, items that users take one after or
    instead of the other.

    \b
    Examples:
        tslrec similar dataset 50 --embeddings embed
        tslrec similar dataset 50 172 --run sasrec -k 5 --json
    """
    if (embeddings is None) == (run is None):
        raise click.UsageError("give either --embeddings PATH or --run PATH")
    check_vector_file_options(embeddings, embedding_ids, ignore_unknown)
    if run is not None and kind != "states":
        raise click.UsageError(f"--vectors {kind} is for --embeddings; leave it out")
    from ..recommendation.similar import similar_items

    found = similar_items(dataset, items, k, embeddings=embeddings, run=run, kind=kind, ids_path=embedding_ids,
                          ignore_unknown=ignore_unknown)
    if as_json:
        click.echo(json.dumps([{"item": item, "similar": neighbours}
                               for item, (_, neighbours) in zip(items, found, strict=True)], ensure_ascii=False))
    else:
        click.echo("\n\n".join(
            table((f"{title} ({item})", "item", "cosine"),
                  [(near["title"], near["item"], f"{near['cosine']:.4f}") for near in neighbours])
            for item, (title, neighbours) in zip(items, found, strict=True)))
