"""``tslrec train``."""

from __future__ import annotations

from pathlib import Path

import click

from ..configs import TrainConfig
from ..storage.existing import Existing
from .options import (
    DATASET,
    VECTORS_PATH,
    ArtifactFolder,
    check_vector_file_options,
    config_options,
    out_option,
    stage_options,
    start_torch,
    vector_file_options,
    writes_output,
)
from .tables import print_training


@click.command()
@click.argument("dataset", type=DATASET)
@out_option("Folder of the trained recommender.")
@click.option("--embeddings", type=VECTORS_PATH,
              help="Item embeddings: a folder that tslrec embed wrote, or a file of vectors (.npy, .npz, .parquet, "
                   "word2vec or RecBole text).")
@vector_file_options
@click.option("--refit-from", type=ArtifactFolder("train"),
              help="Recommender of the same data and options but for --refit: --refit uses its best number of epochs "
                   "and does not repeat its training.")
@config_options(TrainConfig)
@stage_options
def train(dataset: Path, out: Path, embeddings: Path | None, embedding_ids: Path | None, ignore_unknown: bool,
          refit_from: Path | None, config: TrainConfig, device: str, threads: int, existing: Existing,
          as_json: bool) -> None:
    """Train a network on item ids or, through an adapter, item embeddings; or make a recommender without training.

    Of a network, the weights with the best validation score are kept. To resume an interrupted training, run the same
    command again. Under torchrun several processes share every batch, with the same result.

    With --refit a network is trained twice: with early stopping, which finds the best number of epochs, and then on
    more items for exactly as many. A recommender without training keeps its constants and counts more items. The
    figures of a run that has learned from validation items too are marked "n-1" wherever they appear.

    A file of item vectors must have every item of the data set once, in any order: rows are matched by id. An .npz
    file holds the arrays "ids" and "vectors"; a Parquet file holds a column of ids and a column of lists.

    \b
    Examples:
        tslrec train dataset -o ids-only
        tslrec train dataset --embeddings embed --adapter init -o with-embeddings
        tslrec train dataset --embeddings my.npy --embedding-ids my.ids.txt --adapter linear -o with-my-vectors
        tslrec train dataset --model bert4rec --mask-probability 0.3 -o bert4rec
        tslrec train dataset --model transitions -o transitions
        tslrec train dataset --model content --embeddings embed -o titles
        tslrec train dataset --refit all -o for-recommendations
        torchrun --nproc-per-node 2 -m tslrec_min.cli train dataset -o two-processes
    """
    check_vector_file_options(embeddings, embedding_ids, ignore_unknown)
    torch_device = start_torch(device, threads, processes=True)
    from ..recommenders.train import train as train_recommender

    train_recommender(dataset, out, config, embeddings_path=embeddings, embedding_ids=embedding_ids,
                      ignore_unknown=ignore_unknown, refit_from=refit_from, device=torch_device, threads=threads,
                      existing=existing)
    if writes_output():
        print_training(out, as_json)
