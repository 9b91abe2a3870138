"""Sums of recommenders as a function of `api`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from . import arguments
from .arguments import StrPath
from .results import Result


def fuse(dataset: StrPath, parts: Mapping[str, StrPath] | Sequence[StrPath], out: StrPath, *,
         weights_from: StrPath | None = None, device: str = "cpu", threads: int | None = None,
         existing: str = "refuse") -> Result:
    """Sum the scores of several recommenders, with weights fitted on validation targets.

    >>> system = tslrec_min.fuse("dataset", ["transitions", "titles=embed", "sasrec"], "system")
    >>> [part["name"] for part in system.rows]
    ['sasrec', 'titles', 'transitions']
    >>> report = tslrec_min.evaluate("dataset", {"sasrec": "sasrec", "system": "system"}, resamples=100)

    Args:
        dataset: folder of `prepare`.
        parts: name -> part, or parts or strings ``NAME=PART``, as for the command. A part is a folder of `train` or
            `fuse`; item embeddings, a folder of `embed` or a file of vectors, which become the model ``content``; or
            ``popularity``, ``itemknn`` or ``transitions``.
        out: folder of the sum, which is used like one of `train`.
        weights_from: folder of another sum whose parts have the same names, to take over its weights: for parts that
            have learned validation items (`refit`).
        device, threads, existing: as for `pretrain`.

    Returns:
        Validation NDCG@10, by weights that were fitted on other users; a row is a part, with its own NDCG@10, that of
        the sum without it, and its weight for items of some numbers of training interactions.

    Raises:
        TslrecError: a part is missing, damaged, of another data set or has learned validation targets, there are fewer
            than two, or `weights_from` has others.
    """
    chosen = arguments.parts(parts)
    settings = arguments.settings(device, threads, existing)
    from ..recommenders.fuse import fuse as fuse_parts

    metrics = fuse_parts(Path(dataset), chosen, Path(out), weights_from=arguments.path(weights_from), **settings)
    return Result(Path(out), metrics, lambda: metrics["parts"])
