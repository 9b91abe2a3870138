"""Item embeddings without training, as a function of `api`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import configs
from ..config_fields import from_mapping
from . import arguments
from .arguments import StrPath
from .results import Result
from .signatures import with_options


@with_options(configs.ProbeConfig)
def probe(dataset: StrPath, embeddings: StrPath | Sequence[StrPath] | Mapping[str, StrPath], *,
          threads: int | None = None, **options: Any) -> Result:
    """Score item embeddings before anything is trained on them, alone and beside counts of transitions.

    >>> probed = tslrec_min.probe("dataset", {"tuned": "embed"}, vectors="states", control="shuffled", resamples=100)
    >>> [row["name"] for row in probed.rows][:3]
    ['transitions', 'tuned', 'tuned, shuffled']
    >>> 0 <= probed.rows[1]["ndcg@10"] <= 1
    True

    Args:
        dataset: folder of `prepare`.
        embeddings: name -> folder of `embed` or file of item vectors; or folders and files or strings ``NAME=PATH``, as
            for the command. The others are compared with the first one.
        threads: as for `pretrain`.

    Returns:
        The report; a row is transitions, a set of vectors, or the sum of both, with its figures and constants.

    Raises:
        TslrecError: an input is missing, damaged or of another data set, or an option has a bad value.
    """
    config, sets = from_mapping(configs.ProbeConfig, options, "probe"), arguments.vector_sets(embeddings)
    count = arguments.computing("cpu", threads)["threads"]
    from ..evaluation.probe import probe as probe_sets

    report = probe_sets(Path(dataset), sets, config, threads=count)
    return Result(None, report, lambda: report["rows"])
