"""The configuration file of ``tslrec run``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .. import configs
from ..config_fields import from_mapping, unknown_keys
from ..configs import MAX_SEED, AdapterConfig, TrainConfig
from ..errors import TslrecError, missing_path
from .arms import Arm, embeddings_of, parse_arms

_SECTIONS: dict[str, type] = {
    "prepare": configs.PrepareConfig, "pretrain": configs.PretrainConfig, "finetune": configs.FinetuneConfig,
    "embed": configs.EmbedConfig, "train": TrainConfig, "evaluate": configs.EvaluateConfig}
_ADAPTER_KEYS = {item.name for item in fields(AdapterConfig)}
_KEYS = ("source", "items", "encoder", "serving", "jobs", "seeds", "arms", *_SECTIONS)
ENCODER = "all-minilm-l6-v2"


@dataclass(frozen=True)
class RunConfig:
    """A parsed configuration file."""

    source: str | None
    """None: the data are given with --data."""
    items: str | None
    encoder: str
    """Model of the arms with embeddings of an encoder."""
    serving: bool
    """Whether the best arm is made again from all items at the end."""
    jobs: int
    """Number of recommenders trained at the same time, unless there are fewer threads."""
    seeds: list[int]
    arms: list[Arm]
    stages: Mapping[str, Any] = field(repr=False)
    """Section name -> its configuration."""


def load_run_config(path: Path) -> RunConfig:
    """Read a configuration file.

    Raises:
        TslrecError: it can't be read, or has unknown keys or bad values, which are all listed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise missing_path(path, "give a TOML file, or quickstart") from None
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, not TOML, endless digits, nested too deep
        raise TslrecError(f"{path} can't be read as TOML: {error}") from None
    problems = unknown_keys(values, _KEYS)
    stages: dict[str, Any] = {}
    for section, config_class in _SECTIONS.items():
        given = values.get(section, {})
        try:
            if not isinstance(given, dict):
                raise TslrecError(f"[{section}] is not a table")
            if section == "pretrain" and (misplaced := given.keys() & _ADAPTER_KEYS):
                raise TslrecError(f"[pretrain]: {', '.join(sorted(misplaced))}: pretraining uses only item ids; what "
                                  "concerns item embeddings belongs in [train] or [[arms]]")
            stages[section] = from_mapping(config_class, given, f"[{section}]", refuse_unread=section != "train")
        except TslrecError as error:
            problems.append(str(error))
    shared = {} if any(problem.startswith("[train]") for problem in problems) else values.get("train", {})
    arms = parse_arms(values.get("arms"), shared, problems)
    problems += _refit_problems(arms, stages)
    if "embed" in stages and stages["embed"].prefix and "encoder" not in embeddings_of(arms):
        problems.append("[embed] prefix: it is for encoders, and no arm has embeddings of one")
    seeds = values.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and 0 <= seed <= MAX_SEED
                                                           for seed in seeds):
        problems.append(f"seeds: {seeds!r} is not a list of integers from 0 to 2^63 - 1")
    elif len(set(seeds)) < len(seeds):
        problems.append(f"seeds: {seeds!r} has duplicates")
    if not isinstance(values.get("source", ""), str):
        problems.append("source: expected a built-in data set, a file or a folder of interactions")
    if not isinstance(values.get("items", ""), str):
        problems.append("items: expected a file with titles")
    if not isinstance(values.get("encoder", ""), str):
        problems.append("encoder: expected a model, as for tslrec embed --model")
    serving = values.get("serving", True)
    if not isinstance(serving, bool):
        problems.append(f"serving: {serving!r} is neither true nor false")
    jobs = values.get("jobs", 1)
    if type(jobs) is not int or jobs < 1:
        problems.append(f"jobs: {jobs!r} is not an integer from 1")
    if problems:
        raise TslrecError(f"{path}: " + "; ".join(problems))
    return RunConfig(values.get("source"), values.get("items"), values.get("encoder", ENCODER), serving, jobs, seeds,
                     arms, stages)


def _refit_problems(arms: Sequence[Arm], stages: Mapping[str, Any]) -> list[str]:
    """Return why the arms can't be evaluated together, before they are trained."""
    refits = dict.fromkeys(arm.train.refit for arm in arms if not arm.parts)
    if refits.keys() - {"none"} and any(arm.parts for arm in arms):
        return ["refit: the weights of arms with parts are fitted on validation targets, which refits have learned"]
    if "all" in refits:
        return ["refit = all: such an arm has learned the targets that tslrec run evaluates; train it by tslrec train"]
    if "validation" in refits and "evaluate" in stages and stages["evaluate"].split == "validation":
        return ["refit = validation: such an arm has learned the targets of [evaluate] split = validation"]
    return [f"refit: the arms have {' and '.join(refits)}; all must have the same to be compared"] * (len(refits) > 1)
