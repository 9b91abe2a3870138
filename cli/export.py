"""``tslrec export``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..configs import VECTOR_FORMATS
from .options import DATASET, GivenPath, format_of, json_option, out_option, vector_file_options, vectors_option

_BY_ENDING = {".npy": "npy", ".parquet": "parquet", ".txt": "word2vec", ".vec": "word2vec", ".itememb": "recbole"}


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("source", type=GivenPath("give a folder that tslrec embed or tslrec train wrote, or a file of "
                                         "vectors"))
@out_option("File to write.")
@click.option("--format", "output_format", type=click.Choice(VECTOR_FORMATS),
              help="File format; parquet needs the extra tslrec-min[parquet].  [default: by the ending of --out: "
                   ".npy, .parquet, .txt or .vec, .itememb]")
@vectors_option
@vector_file_options
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@json_option
def export(dataset: Path, source: Path, out: Path, output_format: str | None, kind: str,
           embedding_ids: Path | None, ignore_unknown: bool, overwrite: bool, as_json: bool) -> None:
    """Write item embeddings with their ids for other tools.

    SOURCE is a folder that tslrec embed wrote (the item embeddings), a folder that tslrec train wrote (the
    recommender's item table), or a file of vectors as for tslrec train. The padding row is not written. From a file,
    --model content scales projected vectors as any others; from the folder it compares them as they are.

    \b
    npy       float32 [items, width]; ids in a second file: items.npy -> items.ids.txt
    parquet   columns item_id and vector
    word2vec  the text format that gensim reads
    recbole   an atomic file; name it NAME.itememb next to NAME.inter, and set
              additional_feat_suffix: [itememb]
              load_col: {inter: [user_id, item_id, timestamp], itememb: [iid, item_emb]}
              alias_of_item_id: [iid]
              preload_weight: {iid: item_emb}

    \b
    Examples:
        tslrec export dataset embed -o items.npy
        tslrec export dataset embed --vectors both -o ml-100k.itememb
        tslrec export dataset sasrec -o table.parquet
        tslrec export dataset embed -o vectors.txt --format word2vec
    """
    output_format = format_of(out, output_format, _BY_ENDING)
    from ..recommendation.export import export as export_embeddings

    embeddings, paths = export_embeddings(dataset, source, out, output_format, ids_path=embedding_ids,
                                          ignore_unknown=ignore_unknown, kind=kind, overwrite=overwrite)
    n_items, width = len(embeddings.ids), embeddings.rows.shape[1]
    if as_json:
        click.echo(json.dumps({"items": n_items, "width": width, "files": [str(path) for path in paths]}))
    else:
        click.echo(f"{' and '.join(map(str, paths))}: {n_items} items x {width}")
