"""Recommendations: the best items for users of the data set or for new histories, block by block.

They are for what comes *next*: the history of a stored user includes the validation and test items, which an
evaluation hides. Candidates are the items that the recommender was trained with; ties go to the
item that comes first in the data set. Memory holds one block of users, the data set and the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from ..data.dataset import load_dataset
from ..data.seen import SeenItems
from ..errors import TslrecError
from ..recommenders.load import load_scorer
from ..recommenders.scorer import BLOCK_USERS, Scorer
from ..runtime.progress import progress
from ..storage.atomic import output_files
from . import requests
from .requests import GivenIds, HistoryBlock, LeftOut
from .writers import ItemNames, Recommendations, open_writer, rows_of

if TYPE_CHECKING:
    from tqdm import tqdm

@dataclass(frozen=True)
class RecommendOptions:
    """Options of `recommend`."""

    k: int = 10
    """Number of items per user."""
    keep_seen: bool = False
    """Recommend items of the user's history too."""
    titles: bool = False
    """Write the items' titles too."""
    skip_unknown: bool = False
    """Leave out and count unknown ids instead of refusing them."""
    format: str = "jsonl"
    """``jsonl``, ``csv`` or ``parquet``."""


def recommend(dataset_path: Path, run_path: Path, out: Path | BinaryIO, options: RecommendOptions, *,
              users: Path | None = None, histories: Path | None = None, device: torch.device, threads: int,
              overwrite: bool = False) -> tuple[int, LeftOut]:
    """Write the best items of users.

    Args:
        dataset_path: data set artifact.
        run_path: train artifact.
        out: file to write, or an open stream.
        options: see `RecommendOptions`.
        users: file of user ids, one per line, or ``-``; None without `histories`: all users of the data set.
        histories: file of new histories, or ``-``, see `requests`; not together with `users`.
        device: where the model runs.
        threads: kernel threads.
        overwrite: replace the file at `out`.

    Returns:
        The number of users, and what was left out.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set, an id is unknown, `out` exists, or both
            `users` and `histories` are given.
    """
    asked_users = None if users is None else requests.users_in(users)
    asked_histories = None if histories is None else requests.histories_in(histories)
    given, answers, names = _answers(dataset_path, run_path, options, asked_users, asked_histories, device, threads)
    if not isinstance(out, Path):
        return _write(answers, out, names, options.format), given.left_out
    with output_files(out, overwrite=overwrite) as (temporary,), open(temporary, "wb") as stream:
        total = given.dataset.n_users if users is None and histories is None else None
        with progress(total, "recommend", "user") as bar:
            return _write(answers, stream, names, options.format, bar), given.left_out


def recommended_rows(dataset_path: Path, run_path: Path, options: RecommendOptions, *,
                     users: Iterable[Any] | None = None,
                     histories: Mapping[Any, Iterable[Any]] | Iterable[Iterable[Any]] | None = None,
                     device: torch.device, threads: int) -> list[dict[str, Any]]:
    """Return the best items of users as rows, see `writers.rows_of`.

    Arguments are as for `recommend`, but `users` and `histories` hold ids, see `requests.users_of` and
    `requests.histories_of`, and the format has no effect.

    Raises:
        TslrecError: see `recommend`.
    """
    asked_users = None if users is None else requests.users_of(users)
    asked_histories = None if histories is None else requests.histories_of(histories)
    _, answers, names = _answers(dataset_path, run_path, options, asked_users, asked_histories, device, threads)
    return [row for block in answers for row in rows_of(block, names)]


def _answers(dataset_path: Path, run_path: Path, options: RecommendOptions, users: Iterable[requests.AskedUser] | None,
             histories: Iterable[requests.AskedHistory] | None, device: torch.device, threads: int
             ) -> tuple[GivenIds, Iterator[Recommendations], ItemNames]:
    """Return the known ids, the recommendations block by block, and the items' names."""
    if users is not None and histories is not None:
        raise TslrecError("users and histories are both given; give users of the data set or new histories")
    dataset, dataset_hash = load_dataset(dataset_path)
    scorer = load_scorer(run_path, dataset_hash, device)
    given = GivenIds(dataset, options.skip_unknown)
    if histories is None:
        blocks, history = given.stored_blocks(users, BLOCK_USERS), "stored"
    else:
        blocks, history = given.given_blocks(histories, BLOCK_USERS), "given"
    answers = recommended_blocks(scorer, blocks, options.k, keep_seen=options.keep_seen, threads=threads)
    return given, answers, ItemNames(dataset.item_ids, dataset.titles if options.titles else None, history)


def recommended_blocks(scorer: Scorer, blocks: Iterator[HistoryBlock], k: int, *, keep_seen: bool, threads: int
                       ) -> Iterator[Recommendations]:
    """Yield the k best items of each block's users, or all items if there are fewer.

    Raises:
        TslrecError: scores are not finite.
    """
    for user_ids, histories in blocks:
        scores = scorer.scores(histories, threads=threads)
        seen = None if keep_seen else SeenItems.from_histories(histories.indptr, histories.items, scores.n_items)
        yield Recommendations(user_ids, *scores.top_k(min(k, scores.n_items), seen, num_threads=threads))


def _write(answers: Iterator[Recommendations], stream: BinaryIO, names: ItemNames, format: str,
           bar: tqdm | None = None) -> int:
    """Write all recommendations and return the number of users."""
    n_users = 0
    with open_writer(format, stream, names) as write:
        for block in answers:
            write(block)
            n_users += len(block.user_ids)
            if bar is not None:
                bar.update(len(block.user_ids))
    return n_users
