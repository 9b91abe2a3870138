"""The evaluate artifact: every user's rank on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TslrecError
from ..ranking.ranks import Ranks
from ..runtime.validation import check_range
from ..storage.arrays import load_arrays
from ..storage.artifacts import Artifact, open_artifact, read_json
from .summary import RanksOfArms, UserGroups

COUNTS = ("greater", "equal", "n_candidates")


@dataclass(frozen=True)
class Results:
    """What `evaluation.evaluate` stored."""

    path: Path
    """Its folder."""
    split: str
    """``validation`` or ``test``."""
    data: Mapping[str, Any]
    """Statistics of the data set."""
    head_share: float
    """Share of the items that are head items."""
    run_names: Mapping[str, Sequence[str]]
    """Arm -> names of its runs."""
    ranks: RanksOfArms
    """Of all arms."""
    groups: UserGroups
    """Of the users."""
    user_ids: Sequence[str]
    """External ids, [E]."""


def save_ranks(folder: Path, ranks: RanksOfArms, groups: UserGroups, user_ids: Sequence[str]) -> None:
    """Write ranks.npz, and users.txt in the same order.

    The arrays are int64 [runs, users] per protocol, arm and count, and those of the groups, [users]:
    ``users/target`` (internal item id) and ``users/training_length``, int64, and ``users/head``, bool.
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
    """Read a folder that `evaluation.evaluate` wrote.

    Raises:
        TslrecError: it is missing, damaged, something else, or by a version that stored no groups.
    """
    artifact = open_artifact(path, "evaluate")
    arrays = load_arrays(path / "ranks.npz", ("users/target", "users/training_length", "users/head"))
    try:
        return _results(path, artifact, read_json(path / "metrics.json"), arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise TslrecError(f"{path} is not what tslrec evaluate writes ({type(error).__name__}: {error}); run it again"
                          ) from None


def _results(path: Path, artifact: Artifact, report: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Results:
    """Put what was read together; raises ValueError, KeyError, TypeError and the like if the parts do not fit."""
    user_ids = (path / "users.txt").read_text(encoding="utf-8").split("\n")[:-1]
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
    return Results(path, report["split"], report["data"], artifact.config["head_share"],
                   {arm: list(values["runs"]) for arm, values in report["arms"].items()}, ranks, groups,
                   user_ids)
