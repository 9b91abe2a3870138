"""``tslrec similar``."""

from __future__ import annotations

import dataclasses
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
              help="Compare the item table of a recommender instead, a folder that tslrec train wrote.")
@vectors_option
@vector_file_options
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Items for each.")
@json_option
def similar(dataset: Path, items: tuple[str, ...], embeddings: Path | None, run: Path | None, kind: str,
            embedding_ids: Path | None, ignore_unknown: bool, k: int, as_json: bool) -> None:
    """Show the items that are nearest to ITEM by the cosine of their vectors.

    ITEM is an id. If there is none such, ids are suggested whose titles contain the text. By item embeddings, items
    are near that the language model finds alike; by a recommender's table, items that follow or replace each other.

    \b
    Examples:
        tslrec similar dataset 50 --embeddings embed
        tslrec similar dataset 50 172 --run sasrec -k 5 --json
    """
    if (embeddings is None) == (run is None):
        raise click.UsageError("give either --embeddings PATH or --run PATH")
    check_vector_file_options(embeddings, embedding_ids, ignore_unknown)
    if run is not None and kind != "states":
        raise click.UsageError(f"--vectors {kind} goes with --embeddings")
    from ..data.dataset import load_dataset
    from ..item_vectors.load import load_item_embeddings
    from ..recommendation.similar import similar_items

    loaded, dataset_hash = load_dataset(dataset)
    if embeddings is not None:
        compared = load_item_embeddings(embeddings, loaded, kind, ids_path=embedding_ids, ignore_unknown=ignore_unknown)
    else:
        from ..recommenders.artifact import load_item_table  # loads torch

        compared = load_item_table(Path(str(run)), loaded, dataset_hash)
    neighbours_of = list(zip(items, similar_items(loaded, compared, items, k), strict=True))
    if as_json:
        click.echo(json.dumps([{"item": item, "similar": [dataclasses.asdict(near) for near in neighbours]}
                               for item, neighbours in neighbours_of], ensure_ascii=False))
        return
    titles = dict(zip(loaded.with_cold_items().item_ids, loaded.with_cold_items().titles, strict=True))
    click.echo("\n\n".join(
        table((f"{titles[item]} ({item})", "item", "cosine"),
              [(near.title, near.item, f"{near.cosine:.4f}") for near in neighbours])
        for item, neighbours in neighbours_of))
