"""Evaluation of trained recommenders: HR, NDCG and MRR by full ranking, with paired tests between arms.

An *arm* is a way of training, its *runs* differ by the seed. A metric's mean and standard deviation are over
runs; paired tests compare two arms user by user, each user's value averaged over the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import distributed
from .artifacts import Recipe, is_current, open_artifact, read_json, write_artifact, write_json
from .cold_start import evaluate_cold
from .configs import EvaluateConfig
from .data.dataset import Dataset, load_dataset
from .errors import TslrecError
from .metrics import DEFAULT_METRICS, metric_values
from .ranking import Ranks
from .recommenders import load_recommender
from .significance import paired_bootstrap, paired_permutation_test
from .training import rank

_TESTED_METRICS = ("hr@10", "ndcg@10")


def evaluate(dataset_path: Path, arms: Mapping[str, Sequence[Path]], config: EvaluateConfig, *,
             out: Path | None = None, device: torch.device, threads: int, existing: str = "refuse"
             ) -> dict[str, Any]:
    """Rank every user's target by every run and summarise.

    Both protocols are reported: with the items of the history left out of the ranking (``filtered``, the one to
    quote), and with them kept (``unfiltered``, as RecBole's sequential models are evaluated).

    Args:
        dataset_path: data set artifact.
        arms: arm name -> its train artifacts.
        config: split and test.
        out: artifact to write (metrics.json, ranks.npz), or None.
        device: where the models run.
        threads: kernel threads.
        existing: what to do with an artifact at `out`: refuse, overwrite or reuse.

    Returns:
        The contents of metrics.json.

    Raises:
        TslrecError: an artifact is missing, damaged or of another data set.
    """
    hashes = {f"{arm}[{index}]": open_artifact(path, "train").hash
              for arm, paths in arms.items() for index, path in enumerate(paths)}
    dataset, dataset_hash = load_dataset(dataset_path)
    names = [[arm, [path.name for path in paths]] for arm, paths in arms.items()]
    recipe = Recipe("evaluate", asdict(config) | {"arms": names}, {"dataset": dataset_hash} | hashes, config.seed)
    if out is None:
        return _evaluated(dataset, dataset_hash, arms, config, device, threads)[0]
    if existing == "reuse" and is_current(out, recipe):
        return read_json(out / "metrics.json")
    with write_artifact(out, recipe, overwrite=existing != "refuse", keep=distributed.rank() == 0) as folder:
        report, ranks = _evaluated(dataset, dataset_hash, arms, config, device, threads)
        write_json(folder / "metrics.json", report)
        _save_ranks(folder, ranks, [dataset.user_ids[user] for user in dataset.evaluated_users])
    return report


def _evaluated(dataset: Dataset, dataset_hash: str, arms: Mapping[str, Sequence[Path]], config: EvaluateConfig,
               device: torch.device, threads: int) -> tuple[dict[str, Any], dict[str, dict[str, list[Ranks]]]]:
    """Return the report, and the ranks by protocol, arm and run."""
    asked = dataset.evaluation(config.split)
    if not len(asked.users):
        raise TslrecError("no user of the data set has a history of at least 3 items, so there is nothing to evaluate")
    left_out = {"filtered": asked.seen(dataset.n_items), "unfiltered": None}
    ranks: dict[str, dict[str, list[Ranks]]] = {protocol: {} for protocol in left_out}
    for arm, paths in arms.items():
        for path in paths:
            recommender = load_recommender(path, dataset_hash, device)
            found = rank(recommender, asked, list(left_out.values()), device=device, threads=threads)
            for protocol, run in zip(left_out, found, strict=True):
                ranks[protocol].setdefault(arm, []).append(run)
    cold = {"cold": evaluate_cold(dataset, dataset_hash, arms, device=device, threads=threads)} if (
        dataset.cold and config.split == "test") else {}  # who chooses by validation figures must not see these
    return {"split": config.split, "data": dataset.statistics() | {"evaluated_users": len(asked.users)}, "arms": {
        arm: {"runs": [path.name for path in paths]} | {
            protocol: _summary(by_arm[arm]) for protocol, by_arm in ranks.items()}
        for arm, paths in arms.items()}, "comparisons": _comparisons(ranks["filtered"], config)} | cold, ranks


def _summary(runs: Sequence[Ranks]) -> dict[str, dict[str, float | list[float]]]:
    """Metric -> mean, sample standard deviation (0 for one run) and the values of the runs."""
    summary: dict[str, dict[str, float | list[float]]] = {}
    for name in DEFAULT_METRICS:
        values = [float(metric_values(ranks, name).mean()) for ranks in runs]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        summary[name] = {"mean": float(np.mean(values)), "std": deviation, "runs": values}
    return summary


def _comparisons(ranks: Mapping[str, Sequence[Ranks]], config: EvaluateConfig) -> list[dict[str, Any]]:
    """Compare every arm with the first one."""
    if config.test == "none":
        return []
    baseline, *others = ranks
    found = []
    for arm in others:
        for name in _TESTED_METRICS:
            ours, theirs = (np.mean([metric_values(run, name) for run in ranks[which]], axis=0)
                            for which in (arm, baseline))
            result = {"arm": arm, "baseline": baseline, "metric": name, "test": config.test,
                      "difference": float(ours.mean() - theirs.mean()),
                      "relative": float(ours.mean() / theirs.mean() - 1) if theirs.mean() else None}
            found.append(result | _paired_test(ours, theirs, config))
    return found


def _paired_test(ours: np.ndarray, theirs: np.ndarray, config: EvaluateConfig) -> dict[str, Any]:
    if config.test == "permutation":
        test = paired_permutation_test(ours, theirs, n_resamples=config.resamples, seed=config.seed)
        return {"p_value": test.p_value}
    interval = paired_bootstrap(ours, theirs, n_resamples=config.resamples, seed=config.seed)
    return {"p_value": interval.p_value, "low": interval.low, "high": interval.high}


def _save_ranks(folder: Path, ranks: Mapping[str, Mapping[str, Sequence[Ranks]]], user_ids: list[str]) -> None:
    """Write ranks.npz: int64 [runs, users] per protocol, arm and count; and users.txt in the same order."""
    arrays = {}
    for protocol, by_arm in ranks.items():
        for arm, runs in by_arm.items():
            for count in ("greater", "equal", "n_candidates"):
                arrays[f"{protocol}/{arm}/{count}"] = np.stack([getattr(run, count) for run in runs])
    np.savez(folder / "ranks.npz", **arrays)  # type: ignore[arg-type]
    (folder / "users.txt").write_text("".join(f"{user}\n" for user in user_ids), encoding="utf-8")


def parse_arms(specifications: Sequence[str]) -> dict[str, list[Path]]:
    """Parse ``FOLDER`` and ``NAME=FOLDER``; runs of one name are the seeds of one arm.

    Raises:
        TslrecError: two arms would have one name without it being given.
    """
    arms: dict[str, list[Path]] = {}
    unnamed: set[str] = set()
    for specification in specifications:
        name, separator, path = specification.partition("=")
        if not separator or Path(specification).exists():  # a folder's own name may hold a =
            path, name = specification, Path(specification).name
            unnamed.add(name)
        arms.setdefault(name, []).append(Path(path))
    for name, paths in arms.items():
        if len({path.resolve() for path in paths}) < len(paths):
            raise TslrecError(f"the arm {name!r} has the same run twice")
        if len(paths) > 1 and name in unnamed:
            raise TslrecError(f"two runs are called {name!r}; name them: NAME={paths[-1]}")
    return arms
