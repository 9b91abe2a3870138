"""The search for hyper-parameters as a function of `api`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import configs
from ..config_fields import from_mapping
from ..storage.artifacts import read_json
from . import arguments
from .arguments import StrPath
from .results import Result
from .signatures import with_options


@with_options(configs.TuneConfig)
def tune(dataset: StrPath, out: StrPath, *, embeddings: StrPath | None = None, embedding_ids: StrPath | None = None,
         ignore_unknown_items: bool = False, device: str = "cpu", threads: int | None = None, existing: str = "refuse",
         **options: Any) -> Result:
    """Search for the hyper-parameters of `train` with the best validation NDCG@10, by successive halving.

    >>> tuned = tslrec_min.tune("dataset", "tuned", vary="dropout,learning_rate", trials=2, budget=1, width=8, epochs=2)
    >>> list(tuned.metrics["best"]["config"])
    ['dropout', 'learning_rate']
    >>> best = tslrec_min.train("dataset", "best", **tuned.metrics["best"]["settings"])

    Args:
        dataset: folder of `prepare`.
        out: folder of the trials.
        embeddings, embedding_ids, ignore_unknown_items: as for `train`.
        device, threads, existing: as for `pretrain`.

    Returns:
        The trials, and the best one with its settings; a row is a trial at the end of a rung.

    Raises:
        TslrecError: an input is missing, damaged or of another data set, or an option has a bad value.
    """
    from ..recommenders.tune import tune as search

    config, folder = from_mapping(configs.TuneConfig, options, "tune"), Path(out)
    search(Path(dataset), folder, config, embeddings_path=arguments.path(embeddings),
           embedding_ids=arguments.path(embedding_ids), ignore_unknown=ignore_unknown_items,
           **arguments.settings(device, threads, existing))
    result = read_json(folder / "trials.json")
    return Result(folder, result, lambda: [{"trial": trial["trial"], **rung, **trial["config"]}
                                           for trial in result["trials"] for rung in trial["rungs"]])
