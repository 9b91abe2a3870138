"""Evaluation of trained recommenders by full ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configs import EvaluateConfig
from ..data.dataset import Dataset, Evaluation, load_dataset
from ..errors import TslrecError
from ..ranking.ranks import Ranks
from ..recommenders.learned import common_histories, learned_from
from ..recommenders.load import load_scorer
from ..recommenders.scorer import rank
from ..runtime import distributed
from ..runtime.progress import step
from ..storage.artifacts import Artifact, Recipe, is_current, open_artifact, read_json, write_artifact, write_json
from ..storage.existing import Existing
from .arms import check_arms
from .artifact import save_ranks
from .cold_start import ColdTargets
from .lists import RecommendedLists, figures_of_arms, load_list_vectors
from .summary import UserGroups, report_of, summarise, user_groups


def evaluate(dataset_path: Path, arms: Mapping[str, Sequence[Path]], config: EvaluateConfig, *,
             out: Path | None = None, list_vectors: Path | None = None, device: torch.device, threads: int,
             existing: Existing = Existing.REFUSE) -> dict[str, Any]:
    """Rank every user's target by every run and summarise.

    Both protocols are reported: ``filtered``, without the items of the history (the one to quote), and ``unfiltered``,
    with them (as RecBole evaluates sequential models).

    Args:
        dataset_path: data set artifact.
        arms: arm name -> its train artifacts.
        config: split and test.
        out: artifact to write (metrics.json, ranks.npz, users.txt), or None.
        list_vectors: folder of `embed` or file of item vectors, by which the distance of a list's items is reported.
        device: where the models run.
        threads: kernel threads.
        existing: what to do with an artifact at `out`.

    Returns:
        The contents of metrics.json.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set, there is no run, an arm has one twice, or
            runs learned from different histories or from the targets (`common_histories`).
    """
    check_arms(arms)
    runs = {arm: [open_artifact(path, "train") for path in paths] for arm, paths in arms.items()}
    learned = common_histories({str(run.path): learned_from(run) for of_arm in runs.values() for run in of_arm},
                               config.split)
    hashes = {f"{arm}[{index}]": run.hash for arm, of_arm in runs.items() for index, run in enumerate(of_arm)}
    dataset, dataset_hash = load_dataset(dataset_path)
    names = [[arm, [path.name for path in paths]] for arm, paths in arms.items()]
    vectors = None if list_vectors is None else load_list_vectors(list_vectors, dataset)
    if vectors is not None:
        hashes |= {f"list_{name}": found for name, found in vectors.hashes.items()}
    recipe = Recipe("evaluate", asdict(config) | {"arms": names}, {"dataset": dataset_hash} | hashes, config.seed)
    known = None if vectors is None else vectors.known
    if out is None:
        return _evaluated(dataset, dataset_hash, runs, learned, config, known, device, threads)[0]
    if existing.reuses and is_current(out, recipe):
        return read_json(out / "metrics.json")
    with write_artifact(out, recipe, overwrite=existing.overwrites, keep=distributed.rank() == 0) as folder:
        report, ranks, groups = _evaluated(dataset, dataset_hash, runs, learned, config, known, device, threads)
        write_json(folder / "metrics.json", report)
        users = dataset.evaluation(config.split).users
        save_ranks(folder, ranks, groups, [dataset.user_ids[user] for user in users])
    return report


def _evaluated(dataset: Dataset, dataset_hash: str, runs: Mapping[str, Sequence[Artifact]], learned: str,
               config: EvaluateConfig, list_vectors: np.ndarray | None, device: torch.device, threads: int
               ) -> tuple[dict[str, Any], dict[str, dict[str, list[Ranks]]], UserGroups]:
    """Return the report, the ranks by protocol, arm and run, and the users' groups."""
    asked = targets_of(dataset, config.split)
    seen = asked.seen(dataset.n_items)
    left_out = {"filtered": seen, "unfiltered": None}
    ranks: dict[str, dict[str, list[Ranks]]] = {protocol: {} for protocol in left_out}
    # Cold items are for the final test only: no choice may depend on their figures.
    cold = ColdTargets(dataset) if dataset.cold and config.split == "test" else None
    cold_ranks: dict[str, list[dict[str, Ranks] | None]] = {}
    figures: dict[str, list[dict[str, float]]] = {}
    for arm, of_arm in runs.items():
        for run in of_arm:
            scorer = load_scorer(run, dataset_hash, device, cold.n_cold if cold else 0)
            step(f"ranking the targets of {len(asked.users)} users by {arm} ({run.path})")
            lists = RecommendedLists(dataset, seen, list_vectors, threads)
            by_protocol = rank(scorer, asked, list(left_out.values()), device=device, threads=threads, watch=lists.add)
            figures.setdefault(arm, []).append(lists.figures(device))
            for protocol, of_run in zip(left_out, by_protocol, strict=True):
                ranks[protocol].setdefault(arm, []).append(of_run)
            if cold:
                cold_ranks.setdefault(arm, []).append(cold.rank_by(scorer, device=device, threads=threads))
    step("summarising and testing")
    groups = user_groups(dataset, asked, config.head_share)
    data = dataset.statistics() | {"evaluated_users": len(asked.users)}
    run_names = {arm: [run.path.name for run in of_arm] for arm, of_arm in runs.items()}
    report = report_of(config.split, data, run_names, summarise(ranks, groups, config), learned)
    report["arms"] = figures_of_arms(report, figures)
    if cold:
        report["cold"] = cold.report(runs, cold_ranks, threads)
    return report, ranks, groups


def targets_of(dataset: Dataset, split: str) -> Evaluation:
    """Return the targets of a split.

    Raises:
        TslrecError: there is none.
    """
    asked = dataset.evaluation(split)
    if not len(asked.users):
        raise TslrecError(f"no user of the data set has a {split} target: histories have fewer than 3 items, or no "
                          "user has interactions after the training period; prepare more interactions")
    return asked
