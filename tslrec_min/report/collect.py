"""What a report is about: the artifacts of each run, found by what they say of themselves, not by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..categories.artifact import Categories, load_categories
from ..data.dataset import Dataset, load_dataset
from ..embedding.quality import neighbour_share
from ..errors import TslrecError
from ..evaluation.arms import parse_named_folder
from ..evaluation.artifact import Results, load_results
from ..item_vectors.artifact import PREFERENCES
from ..item_vectors.load import load_item_embeddings
from ..storage.artifacts import Artifact, open_artifact, read_json
from .statistics import FloatArray, principal_plane

FOLDER_OF_A_RUN = "give the folder of a tslrec run, or of one of its stages"
"""What every message says that refuses a specification."""
KINDS = ("dataset", "pretrain", "finetune", "embed-untuned", "embed", "train", "evaluate")
"""Roles of artifacts in the order of the method; an embed artifact of a model as it is has the role embed-untuned."""
EMBEDDINGS = ("embed-untuned", "embed")
"""Roles of item embeddings: before and after fine-tuning."""
ITEM_VECTORS = {"embed-untuned": ("embed-untuned", "states"), "embed": ("embed", "states"),
                "preferences": ("embed", "preferences")}
"""Name of item vectors -> role of the artifact that has them, and which of its vectors they are."""
MOST_NEIGHBOURS = 30_000
"""Items whose neighbours are looked for; more would take minutes."""
_SINGLE = "single stages"
_DEPTH = 2
"""Folders of a run lie at most so deep: train/NAME."""


@dataclass(frozen=True)
class Spread:
    """How item vectors lie among each other."""

    points: FloatArray
    """float64 [I, 2], see `principal_plane`."""
    variance: float
    """Share of the variance that the plane holds."""
    neighbour_share: float | None
    """Of an item's 10 nearest neighbours, those in its latent category; None without categories, and for more than
    `MOST_NEIGHBOURS` items: every item is compared with every other."""


@dataclass(frozen=True)
class Run:
    """The artifacts of one run; what needs an artifact that is not there is None or empty."""

    name: str
    stages: Mapping[str, Sequence[Artifact]]
    """Role -> its artifacts; one each, but for train."""
    left_out: Sequence[str]
    """Artifacts that are there but do not belong to the data set, and why; for the reader."""
    failed_parity: Mapping[str, Any] | None = None
    """The figures that a failed `finetune` left."""

    def stage(self, role: str) -> Artifact | None:
        """Return the one artifact of a role."""
        found = self.stages.get(role, ())
        return found[0] if found else None

    def file(self, role: str, name: str) -> Any:
        """Return a JSON file of the artifact of a role, or None."""
        stage = self.stage(role)
        return read_json(stage.path / name) if stage else None

    @cached_property
    def missing(self) -> list[str]:
        """Roles without an artifact."""
        return [role for role in KINDS if not self.stages.get(role)]

    @cached_property
    def dataset(self) -> Dataset | None:
        """The data set."""
        stage = self.stage("dataset")
        return load_dataset(stage.path)[0] if stage else None

    @cached_property
    def categories(self) -> Categories | None:
        """The latent categories, if the data set is there too."""
        pretrained, data = self.stage("pretrain"), self.stage("dataset")
        if pretrained is None or data is None or self.dataset is None:
            return None
        return load_categories(pretrained.path, self.dataset, data.hash)[0]

    @cached_property
    def results(self) -> Results | None:
        """Every user's rank."""
        stage = self.stage("evaluate")
        return load_results(stage.path) if stage else None

    @cached_property
    def evaluation(self) -> Mapping[str, Any] | None:
        """What `tslrec evaluate` found."""
        found: Mapping[str, Any] | None = self.file("evaluate", "metrics.json")
        return found

    @cached_property
    def spreads(self) -> dict[str, Spread]:
        """Name of `ITEM_VECTORS` -> how they lie, for those that are there; one array at a time is in memory."""
        found: dict[str, Spread] = {}
        if self.dataset is None:
            return found
        labels = self.categories.labels if self.categories else None
        if labels is not None and len(labels) > MOST_NEIGHBOURS:
            labels = None
        for name, (role, kind) in ITEM_VECTORS.items():
            stage = self.stage(role)
            if stage is None or (kind == "preferences" and PREFERENCES not in stage.record["files"]):
                continue
            embeddings = load_item_embeddings(stage.path, self.dataset, kind).known
            share = None if labels is None else neighbour_share(embeddings, labels)
            found[name] = Spread(*principal_plane(embeddings), share)
        return found

    def trainings(self) -> list[tuple[str, Artifact]]:
        """Return the arm of every trained recommender, by the hashes that evaluate recorded, else its folder's name."""
        stage = self.stage("evaluate")
        arms = {} if stage is None else {value: arm.rpartition("[")[0] for arm, value in stage.record["inputs"].items()
                                         if arm.endswith("]")}
        return [(arms.get(artifact.hash, artifact.path.name), artifact) for artifact in self.stages.get("train", ())]


def collect(specifications: Sequence[str]) -> list[Run]:
    """Find the artifacts of runs.

    Args:
        specifications: folders of runs, as ``FOLDER`` or ``NAME=FOLDER``; folders of single stages that have one NAME,
            or none, are taken together as one run.

    Returns:
        The runs in the order given, with different names.

    Raises:
        TslrecError: a folder is missing or holds no artifact, an artifact is damaged, or one run has two artifacts for
            one place.
    """
    found: dict[str, list[Artifact]] = {}
    evidence: dict[str, Mapping[str, Any]] = {}
    for specification in specifications:
        name, path = parse_named_folder(specification)
        if not path.is_dir():
            raise TslrecError(f"{path} is not a folder; {FOLDER_OF_A_RUN}")
        if (path / "config.json").is_file():
            found.setdefault(name or _SINGLE, []).append(_opened(path))
            continue
        artifacts = [_opened(folder) for folder in _artifact_folders(path)]
        name = name or path.resolve().name
        if not artifacts:
            raise TslrecError(f"{path} holds no artifact of tslrec: no folder in it has a config.json; "
                              f"{FOLDER_OF_A_RUN}")
        if name in found:
            raise TslrecError(f"two runs are called {name!r}; name them: NAME={path}")
        found[name] = artifacts
        if (path / "finetune.parity.json").is_file():
            evidence[name] = read_json(path / "finetune.parity.json")
    return [_run(name, artifacts, evidence.get(name)) for name, artifacts in found.items()]


def _artifact_folders(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        if not child.is_dir() or child.name.startswith("."):
            continue
        if (child / "config.json").is_file():
            yield child
        elif depth > 1:
            yield from _artifact_folders(child, depth - 1)


def _opened(folder: Path) -> Artifact:
    record = read_json(folder / "config.json")
    kind = record.get("kind") if isinstance(record, dict) else None
    if not isinstance(kind, str):
        raise TslrecError(f"{folder / 'config.json'} is not the record of a tslrec artifact; give the folder that a "
                          "stage wrote")
    return open_artifact(folder, kind)


def _role(artifact: Artifact) -> str:
    kind = str(artifact.record["kind"])
    return "embed-untuned" if kind == "embed" and "finetune" not in artifact.record["inputs"] else kind


def _run(name: str, artifacts: Sequence[Artifact], evidence: Mapping[str, Any] | None) -> Run:
    """Sort artifacts by role; those of another data set, and of the pretraining before the last, are left out."""
    stages: dict[str, list[Artifact]] = {role: [] for role in KINDS}
    left_out: list[str] = []
    for artifact in sorted(artifacts, key=lambda found: KINDS.index(_role(found)) if _role(found) in KINDS else -1):
        role = _role(artifact)
        if role not in KINDS:
            left_out.append(f"{artifact.path.name}: reports do not show artifacts of kind {role}")
            continue
        other = [kind for kind in ("dataset", "pretrain", "finetune") if stages[kind]
                 and artifact.record["inputs"].get(kind, stages[kind][0].hash) != stages[kind][0].hash]
        if other:
            left_out.append(f"{artifact.path.name}: was made from another {other[0]} artifact than the one shown")
        elif stages[role] and role != "train":
            raise TslrecError(f"the run {name!r} has two {role} artifacts, {stages[role][0].path} and {artifact.path}; "
                              "give one of them, or give each run as a folder of its own")
        else:
            stages[role].append(artifact)
    return Run(name, stages, left_out, None if stages["finetune"] else evidence)
