"""What is asked of finished recommenders and embeddings, as functions of `api`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import arguments
from .arguments import Histories, StrPath
from .results import Rows


def recommend(dataset: StrPath, run: StrPath, *, users: Iterable[Any] | None = None,
              histories: Histories | None = None, k: int = 10, keep_seen: bool = False, unknown: str = "refuse",
              device: str = "cpu", threads: int | None = None) -> Rows:
    """Recommend the best items for every user, to follow the whole history.

    >>> tslrec_min.recommend("dataset", "sasrec", users=["u7"], k=1)
    [{'user': 'u7', 'history': 'stored', 'rank': 1, 'item': 'i...', 'score': ..., 'title': 'Amélie ...'}]
    >>> tslrec_min.recommend("dataset", "sasrec", histories={"me": ["i3", "i4"]}, k=1)
    [{'user': 'me', 'history': 'given', 'rank': 1, 'item': 'i...', 'score': ..., 'title': 'Amélie ...'}]

    Args:
        dataset: folder of `prepare`.
        run: folder of `train` or `fuse`.
        users: ids of users of the data set; None without `histories`: all users.
        histories: new histories, oldest item first: user -> item ids, or lists of item ids of users "0", "1", ...
        k: number of items per user.
        keep_seen: also recommend items of the history.
        unknown: ``refuse`` or ``skip`` ids that are not in the data set.
        device, threads: as for `pretrain`.

    Returns:
        A row per user and item, best first, as in the command's CSV with titles.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set, or an argument can't be used.
    """
    from ..recommendation.recommend import RecommendOptions, recommended_rows

    options = RecommendOptions(arguments.count(k), keep_seen, titles=True, skip_unknown=arguments.skips(unknown))
    return recommended_rows(Path(dataset), Path(run), options, users=users, histories=histories,
                            **arguments.computing(device, threads))


def similar(dataset: StrPath, items: str | Sequence[str], *, embeddings: StrPath | None = None,
            run: StrPath | None = None, k: int = 10) -> Rows:
    """Find the nearest items by the cosine of their vectors.

    >>> tslrec_min.similar("dataset", "i3", embeddings="embed", k=1)
    [{'item': 'i3', 'rank': 1, 'similar': 'i...', 'title': 'Amélie ...', 'cosine': ...}]

    Args:
        dataset: folder of `prepare`.
        items: one id or several.
        embeddings: folder of `embed`, or a file of vectors with their ids.
        run: folder of `train`, to compare the recommender's item table instead of `embeddings`.
        k: number of similar items per item.

    Returns:
        A row per item and similar item, nearest first.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set, or an argument can't be used.
    """
    from ..recommendation.similar import similar_rows

    return similar_rows(Path(dataset), arguments.several(items), arguments.count(k),
                        embeddings=arguments.path(embeddings), run=arguments.path(run))
