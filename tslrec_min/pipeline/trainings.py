"""What a run trains, counts and sums, in which folders, and what each arm took."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..storage.artifacts import read_json
from .arms import PARTS, Arm
from .config import RunConfig

EMBEDDED = {"tfidf": "embed-tfidf", "encoder": "embed-encoder", "untuned": "embed-untuned", "tuned": "embed"}
"""Kind of item embeddings -> folder."""
_BEFORE = {"none": (), "tfidf": ("embed-tfidf",), "encoder": ("embed-encoder",), "untuned": ("embed-untuned",),
           "tuned": ("pretrain", "finetune", "embed")}


@dataclass
class Recommenders:
    """Recommenders to make, in this order: folder in that of the run -> arguments."""

    alone: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of `make_run`, for recommenders without training."""
    trained: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of `make_run`, for networks, which can be trained at the same time."""
    sums: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of `make_sum`."""

    @property
    def count(self) -> int:
        """Number of folders."""
        return len(self.alone) + len(self.trained) + len(self.sums)


class Trainings(Recommenders):
    """The runs of every arm, and of the parts of sums that are no arms themselves."""

    def __init__(self, config: RunConfig, out: Path) -> None:
        super().__init__()
        self._out = out
        self._folders: dict[str, dict[int, str]] = {}  # of an arm or part, by seed
        self._before: dict[str, tuple[str, ...]] = {}  # stages that a run's embeddings come from
        first, names = config.seeds[0], {arm.name for arm in config.arms}
        for part in {part: None for arm in config.arms for part in arm.parts if part not in names}:
            kind, settings = PARTS[part]
            self._add(part, f"parts/{re.sub('[^a-z]+', '-', part)}", first, Arm(0, part, kind, settings))
        for seed in config.seeds:
            for arm in config.arms:
                if arm.seeded or (not arm.parts and seed == first):
                    self._add(arm.name, f"train/{arm.folder}" + f"-{seed}" * arm.seeded, seed, arm)
        for arm in config.arms:
            of_parts = {name: self._folders[name] for name in arm.parts}
            several = any(len(folders) > 1 for folders in of_parts.values())
            for seed in config.seeds[:None if several else 1] if arm.parts else ():
                folder = self._folders.setdefault(arm.name, {})[seed] = f"train/{arm.folder}" + f"-{seed}" * several
                self.sums[folder] = {"dataset": out / "dataset", "parts": {
                    name: out / folders.get(seed, folders[first]) for name, folders in of_parts.items()}}
        self.runs = {arm.name: [out / folder for folder in self._folders[arm.name].values()] for arm in config.arms}
        """Arm -> folders of its runs, in the order of the seeds."""

    def _add(self, name: str, folder: str, seed: int, arm: Arm) -> None:
        self._folders.setdefault(name, {})[seed] = folder
        self._before[folder] = _BEFORE[arm.embeddings]
        (self.trained if arm.seeded else self.alone)[folder] = {
            "dataset_path": self._out / "dataset", "config": replace(arm.train, seed=seed),
            "label": name + f", seed {seed}" * arm.seeded,
            "embeddings_path": self._out / EMBEDDED[arm.embeddings] if arm.embeddings in EMBEDDED else None}

    def validation_scores(self) -> dict[str, float]:
        """Return every arm's validation NDCG@10, the mean of its runs."""
        scores = {arm: [read_json(run / "metrics.json")["validation_ndcg@10"] for run in runs]
                  for arm, runs in self.runs.items()}
        return {arm: sum(of_arm) / len(of_arm) for arm, of_arm in scores.items()}

    def seconds(self) -> dict[str, float]:
        """Return the time that one run of every arm took, with its parts and embeddings, but without the data set."""
        return {arm: sum(self._seconds(runs)) / len(runs) for arm, runs in self.runs.items()}

    def _seconds(self, runs: Sequence[Path]) -> list[float]:
        found = []
        for run in runs:
            folders = {run, *self.sums.get(run.relative_to(self._out).as_posix(), {"parts": {}})["parts"].values()}
            stages = {self._out / stage for folder in folders
                      for stage in self._before.get(folder.relative_to(self._out).as_posix(), ())}
            found.append(sum(_wall_seconds(folder) for folder in folders | stages))
        return found


def make_run(out: Path, **arguments: Any) -> None:
    """Make a recommender that is no sum; arguments are those of `recommenders.train.train`."""
    from ..recommenders.train import train

    train(out=out, **arguments)


def make_sum(out: Path, dataset: Path, parts: Mapping[str, Path], **arguments: Any) -> None:
    """Make a sum; other arguments are those of `recommenders.fuse.fuse`."""
    from ..recommenders.fuse import Part, fuse

    fuse(dataset, [Part(name, path) for name, path in parts.items()], out, **arguments)


def _wall_seconds(folder: Path) -> float:
    record: Mapping[str, Any] = read_json(folder / "config.json")
    return float(record["wall_seconds"])
