"""Export of item embeddings with their ids for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.dataset import load_dataset
from ..errors import TslrecError
from ..item_vectors.formats import ids_beside, write_vectors
from ..item_vectors.load import ItemEmbeddings, load_item_embeddings, refuse_file_options
from ..storage.artifacts import read_json
from ..storage.atomic import output_files


def export(dataset_path: Path, source: Path, out: Path, format: str, *, ids_path: Path | None = None,
           ignore_unknown: bool = False, kind: str = "states", overwrite: bool = False
           ) -> tuple[ItemEmbeddings, Sequence[Path]]:
    """Write item embeddings with their ids for other tools.

    Args:
        dataset_path: data set artifact.
        source: embed artifact, train artifact (its item table is written), or a file as for `load_item_embeddings`.
        out: file to write; for ``npy`` the ids go into the file that `ids_beside` names.
        format: one of `configs.VECTOR_FORMATS`.
        ids_path, ignore_unknown, kind: see `load_item_embeddings`.
        overwrite: replace existing files.

    Returns:
        The embeddings and the files; the padding row is not written.

    Raises:
        TslrecError: the source doesn't fit the data set, a file exists, or see `write_vectors`.
    """
    dataset, dataset_hash = load_dataset(dataset_path)
    record = read_json(source / "config.json") if (source / "config.json").is_file() else None
    if isinstance(record, dict) and record.get("kind") == "train":
        refuse_file_options(source, ids_path, ignore_unknown)
        if kind != "states":
            raise TslrecError(f"{source} is a folder of tslrec train; --vectors {kind} is for folders of tslrec embed")
        from ..recommenders.artifact import load_item_table  # loads torch

        embeddings = load_item_table(source, dataset, dataset_hash)
    else:
        embeddings = load_item_embeddings(source, dataset, kind, ids_path=ids_path, ignore_unknown=ignore_unknown)
    paths = [out, ids_beside(out)] if format == "npy" else [out]
    with output_files(*paths, overwrite=overwrite) as temporary:
        write_vectors(temporary, format, embeddings.ids, embeddings.rows[1:])
    return embeddings, paths
