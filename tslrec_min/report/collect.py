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
from ..embedding.tfidf import TFIDF
from ..errors import TslrecError, missing_path
from ..evaluation.arms import parse_named_folder
from ..evaluation.artifact import Results, load_results
from ..item_vectors.artifact import PREFERENCES
from ..item_vectors.load import load_item_embeddings
from ..storage.artifacts import Artifact, open_artifact, read_json
from .statistics import FloatArray, principal_plane

_EXPECTED = "give the folder of a tslrec run, or of one of its stages"
KINDS = ("dataset", "pretrain", "finetune", "embed-untuned", "embed", "train", "evaluate")
"""Roles of the artifacts of the method, in its order; an embed artifact of a model as it is has the role
embed-untuned."""
EMBEDS = ("embed-tfidf", "embed-encoder", "embed-untuned", "embed")
"""Roles of embed artifacts: of the titles' words, an encoder, a language model, and that model fine-tuned."""
PART, SERVING = "part", "serving"
"""Roles of train artifacts that are no arms: parts of sums, and what learned from everything."""
PROBE = "probe"
"""Role of the figures of item embeddings without training."""
ROLES = ("dataset", "pretrain", "finetune", *EMBEDS, PROBE, PART, "train", "evaluate", SERVING)
"""All roles, in the order of a run."""
_SEVERAL = ("train", PART, SERVING)
ITEM_VECTORS = {role: (role, "states") for role in EMBEDS} | {"preferences": ("embed", "preferences")}
"""Name of the item vectors -> role of the artifact that has them, and their kind there."""
MAX_NEIGHBOUR_ITEMS = 30_000
"""Maximum number of items for which neighbours are computed; more would take minutes."""


@dataclass(frozen=True)
class Spread:
    """How item vectors are spread."""

    points: FloatArray
    """float64 [I, 2], see `principal_plane`."""
    variance: float
    """Share of the variance in the plane."""
    neighbour_share: float | None
    """Share of an item's 10 nearest neighbours that are in its latent category; None without categories, and for more
    than `MAX_NEIGHBOUR_ITEMS` items."""


@dataclass(frozen=True)
class Run:
    """The artifacts of one run; attributes that need a missing artifact are None or empty."""

    name: str
    stages: Mapping[str, Sequence[Artifact]]
    """Role of `ROLES` -> its artifacts; at most one, except for recommenders."""
    left_out: Sequence[str]
    """Artifacts that are not shown, and why; for the reader."""
    failed_parity: Mapping[str, Any] | None
    """The parity figures of a `finetune` that failed."""

    def stage(self, role: str) -> Artifact | None:
        """Return the one artifact of a role, or None."""
        return next(iter(self.stages[role]), None)

    def file(self, role: str, name: str) -> Any:
        """Return a JSON file of the artifact of a role, or None."""
        stage = self.stage(role)
        return read_json(stage.path / name) if stage else None

    @cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """All artifacts by their hashes; of equal ones the first by role: one for serving may equal a part."""
        artifacts: dict[str, Artifact] = {}
        for artifact in (each for role in ROLES for each in self.stages[role]):
            artifacts.setdefault(artifact.hash, artifact)
        return artifacts

    @cached_property
    def missing(self) -> list[str]:
        """Roles of `KINDS` without an artifact; where recommenders and results are there, those they were made from."""
        absent = [role for role in KINDS if not self.stages[role]]
        if not self.stages["train"] or not self.stages["evaluate"]:
            return absent
        inputs = [pair for artifact in self.artifacts.values() for pair in artifact.record["inputs"].items()]
        needed = {name for name, _ in inputs}
        if any(name == "embeddings" and value not in self.artifacts for name, value in inputs):
            needed |= {"embed", "embed-untuned"}
        return [role for role in absent if role in needed]

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
        """The report of `tslrec evaluate`."""
        metrics: Mapping[str, Any] | None = self.file("evaluate", "metrics.json")
        return metrics

    @cached_property
    def spreads(self) -> dict[str, Spread]:
        """Name of `ITEM_VECTORS` -> their spread, for those that exist; only one array is in memory at a time."""
        spreads: dict[str, Spread] = {}
        if self.dataset is None:
            return spreads
        categories = self.categories if self.dataset.n_items < MAX_NEIGHBOUR_ITEMS else None
        for name, (role, kind) in ITEM_VECTORS.items():
            stage = self.stage(role)
            if stage is None or (kind == "preferences" and PREFERENCES not in stage.record["files"]):
                continue
            embeddings = load_item_embeddings(stage.path, self.dataset, kind).known
            share = neighbour_share(embeddings, categories.labels) if categories else None
            spreads[name] = Spread(*principal_plane(embeddings), share)
        return spreads

    @cached_property
    def arms(self) -> dict[str, str]:
        """Hash of every evaluated recommender -> its arm."""
        stage = self.stage("evaluate")
        return evaluated(stage) if stage else {}

    def trainings(self) -> list[tuple[str, Artifact]]:
        """Return every recommender with its arm: the one that evaluate recorded, or the folder's name."""
        return [(self.arms.get(value, artifact.path.name), artifact)
                for value, artifact in {artifact.hash: artifact for artifact in self.stages["train"]}.items()]

    def runs(self) -> dict[str, list[Artifact]]:
        """Return the runs of every evaluated arm; none if any is not there."""
        if not all(value in self.artifacts for value in self.arms):
            return {}
        runs: dict[str, list[Artifact]] = {}
        for value, arm in self.arms.items():
            runs.setdefault(arm, []).append(self.artifacts[value])
        return runs

    def seconds(self, artifact: Artifact) -> float:
        """Return the time that an artifact took, with all artifacts of the run it was made from but the data set."""
        found, new = {artifact.hash: artifact}, [artifact]
        while new:
            inputs = {value: self.artifacts[value] for value in new.pop().record["inputs"].values()
                      if value in self.artifacts and value not in found}
            inputs = {value: made for value, made in inputs.items() if made.record["kind"] != "dataset"}
            found |= inputs
            new += inputs.values()
        return float(sum(each.record["wall_seconds"] for each in found.values()))


def evaluated(stage: Artifact) -> dict[str, str]:
    """Return the hash of every recommender that an evaluate artifact is about -> its arm."""
    return {value: arm.rpartition("[")[0] for arm, value in stage.record["inputs"].items() if arm.endswith("]")}


def collect(specifications: Sequence[str]) -> list[Run]:
    """Find the artifacts of runs.

    Args:
        specifications: folders of runs, as ``FOLDER`` or ``NAME=FOLDER``; folders of single stages with the same NAME,
            or with none, are taken together as one run.

    Returns:
        The runs in the order given, with different names.

    Raises:
        TslrecError: a folder is missing or holds no artifact, an artifact is damaged, or one run has two artifacts for
            one place.
    """
    runs: dict[str, list[Artifact]] = {}
    failed_parity: dict[str, Mapping[str, Any]] = {}
    folders = [parse_named_folder(specification) for specification in specifications]
    for _, path in folders:  # before anything slow is read
        if not path.exists():
            raise missing_path(path, _EXPECTED, fits=Path.is_dir)
        if not path.is_dir():
            raise TslrecError(f"{path} is not a folder; {_EXPECTED}")
    for name, path in folders:
        if (path / "config.json").is_file():
            runs.setdefault(name or "single stages", []).append(_opened(path))
            continue
        artifacts = [_opened(folder) for folder in _artifact_folders(path)]
        name = name or path.resolve().name
        if not artifacts:
            raise TslrecError(f"{path} holds no artifact of tslrec: no folder in it has a config.json; "
                              f"{_EXPECTED}")
        if name in runs:
            raise TslrecError(f"two runs are called {name!r}; name them: NAME={path}")
        runs[name] = artifacts
        if (path / "finetune.parity.json").is_file():
            failed_parity[name] = read_json(path / "finetune.parity.json")
    return [_run(name, artifacts, failed_parity.get(name)) for name, artifacts in runs.items()]


def _artifact_folders(folder: Path, depth: int = 2) -> Iterator[Path]:
    """Give the folders of artifacts, the deepest of which are train/NAME."""
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
    kind, config = str(artifact.record["kind"]), artifact.config
    if kind == "train":
        return SERVING if config.get("refit") == "all" else kind
    if kind != "embed" or "finetune" in artifact.record["inputs"]:
        return kind
    if config.get("model") == TFIDF:
        return "embed-tfidf"
    return "embed-encoder" if "encoder" in config else "embed-untuned"


def _run(name: str, artifacts: Sequence[Artifact], failed_parity: Mapping[str, Any] | None) -> Run:
    """Sort artifacts by role and leave out those that were made from other artifacts than the ones shown."""
    stages: dict[str, list[Artifact]] = {role: [] for role in ROLES}
    left_out: list[str] = []
    for artifact in sorted(artifacts, key=lambda each: ROLES.index(_role(each)) if _role(each) in ROLES else -1):
        role = _role(artifact)
        if role not in ROLES:
            left_out.append(f"{artifact.path.name}: reports do not show artifacts of kind {role}")
            continue
        other = [kind for kind in ("dataset", "pretrain", "finetune") if stages[kind]
                 and artifact.record["inputs"].get(kind, stages[kind][0].hash) != stages[kind][0].hash]
        if other:
            left_out.append(f"{artifact.path.name}: was made from another {other[0]} artifact than the one shown")
        elif role == PROBE and not _of_shown_embeddings(artifact, stages):
            left_out.append(f"{artifact.path.name}: was made from other item embeddings than those shown")
        elif stages[role] and role not in _SEVERAL:
            raise TslrecError(f"the run {name!r} has two {role} artifacts, {stages[role][0].path} and {artifact.path}; "
                              "give one of them, or give each run as a folder of its own")
        else:
            stages[role].append(artifact)
    _set_parts_apart(stages)
    return Run(name, stages, left_out, None if stages["finetune"] else failed_parity)


def _of_shown_embeddings(probe: Artifact, stages: Mapping[str, Sequence[Artifact]]) -> bool:
    """Return whether the item embeddings of a probe are among those shown; without any it stands for itself."""
    shown = {artifact.hash for role in EMBEDS for artifact in stages[role]}
    return not shown or all(value in shown for name, value in probe.record["inputs"].items() if name != "dataset")


def _set_parts_apart(stages: dict[str, list[Artifact]]) -> None:
    """Give recommenders that were not evaluated, but are parts of sums that were, a role of their own."""
    if not stages["evaluate"]:
        return
    arms = evaluated(stages["evaluate"][0])
    in_sums = {value for artifact in stages["train"] for value in artifact.record["inputs"].values()}
    stages[PART] = [run for run in stages["train"] if run.hash in in_sums and run.hash not in arms]
    stages["train"] = [run for run in stages["train"] if run not in stages[PART]]
