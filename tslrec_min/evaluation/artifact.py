"""The evaluate artifact: every user's ranks in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.item_table import load_lines
from ..errors import TslrecError
from ..ranking.ranks import Ranks
from ..recommenders.learned import KINDS, TRAINING
from ..runtime.validation import check_range
from ..storage.arrays import load_arrays
from ..storage.artifacts import open_artifact, read_json
from .summary import BEYOND_ACCURACY, RanksOfArms, UserGroups, over_runs

COUNTS = ("greater", "equal", "n_candidates")


@dataclass(frozen=True)
class Results:
    """The contents of an evaluate artifact."""

    path: Path
    split: str
    """``validation`` or ``test``."""
    data: Mapping[str, Any]
    """Statistics of the data set."""
    head_share: float
    """Fraction of the items that are head items."""
    run_names: Mapping[str, Sequence[str]]
    """Arm -> names of its runs."""
    ranks: RanksOfArms
    groups: UserGroups
    user_ids: Sequence[str]
    """External ids, [E]."""
    learned_from: str = TRAINING
    """What all runs learned from, see `recommenders.learned`."""
    list_figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Arm -> the figures of its recommended lists, see `lists.figures_of_arms`; none from older versions."""
    list_vectors: str | None = None
    """Hash of the item vectors behind the distances among these figures."""


def save_ranks(folder: Path, ranks: RanksOfArms, groups: UserGroups, user_ids: Sequence[str]) -> None:
    """Write ranks.npz, and users.txt in the same order.

    There is an int64 array [runs, E] per protocol, arm and count. ``users/target`` (internal item id),
    ``users/training_length``, both int64 [E], and ``users/head``, bool [E], are the groups.
    """
    arrays = {"users/target": groups.target, "users/training_length": groups.training_length,
              "users/head": groups.head}
    for protocol, by_arm in ranks.items():
        for arm, runs in by_arm.items():
            for count in COUNTS:
                arrays[f"{protocol}/{arm}/{count}"] = np.stack([getattr(run, count) for run in runs])
    np.savez(folder / "ranks.npz", **arrays)  # type: ignore[arg-type]
    (folder / "users.txt").write_text("".join(f"{user}\n" for user in user_ids), encoding="utf-8")


def load_results(path: Path) -> Results:
    """Read a folder that `evaluation.evaluate.evaluate` wrote.

    Raises:
        TslrecError: it is missing, damaged, another artifact, or from a version that stored no groups.
    """
    artifact = open_artifact(path, "evaluate")
    arrays = load_arrays(path / "ranks.npz", ("users/target", "users/training_length", "users/head"))
    try:
        results = _results(path, artifact.config, read_json(path / "metrics.json"), arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise TslrecError(f"{path} is not what tslrec evaluate writes ({type(error).__name__}: {error}); run it again"
                          ) from None
    return replace(results, list_vectors=artifact.record["inputs"].get("list_embeddings"))


def _results(path: Path, config: Mapping[str, Any], report: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
             ) -> Results:
    """Assemble the results; raises ValueError, KeyError, TypeError and the like if the parts do not fit."""
    user_ids = load_lines(path / "users.txt")
    for name, array in arrays.items():
        if array.shape[-1:] != (len(user_ids),) or array.ndim != (1 if name.startswith("users/") else 2) or (
                array.dtype != (bool if name == "users/head" else np.int64)):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}; there are {len(user_ids)} users")
        check_range(name, array.reshape(-1), 0, 2**31)
    for key, kind in {"users": int, "items": int, "evaluated_users": int, "split_hash": str}.items():
        if type(report["data"][key]) is not kind:
            raise TypeError(f"data.{key} is {report['data'][key]!r}")
    ranks: dict[str, dict[str, list[Ranks]]] = {}
    for protocol in ("filtered", "unfiltered"):
        for arm in report["arms"]:
            counts = [arrays[f"{protocol}/{arm}/{count}"] for count in COUNTS]
            ranks.setdefault(protocol, {})[arm] = [Ranks(*run) for run in zip(*counts, strict=True)]
    groups = UserGroups(arrays["users/target"], arrays["users/training_length"], arrays["users/head"])
    run_names = {arm: list(values["runs"]) for arm, values in report["arms"].items()}
    learned, = {values.get("learned_from", TRAINING) for values in report["arms"].values()}  # the same for all
    if learned not in KINDS:
        raise ValueError(f"learned_from is {learned!r}")
    lists = {arm: {name: over_runs([float(value) for value in figures["runs"]])
                   for name, figures in values.get(BEYOND_ACCURACY, {}).items()}
             for arm, values in report["arms"].items()}
    return Results(path, report["split"], report["data"], config["head_share"], run_names, ranks, groups, user_ids,
                   learned, lists)
