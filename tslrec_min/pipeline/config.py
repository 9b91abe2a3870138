"""The configuration file of ``tslrec run``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .. import configs
from ..config_fields import from_mapping, overlaid, unknown_keys
from ..configs import ADAPTERS, MAX_SEED, AdapterConfig, TrainConfig
from ..errors import TslrecError, missing_path

EMBEDDINGS = ("none", "untuned", "tuned")
_SECTIONS: dict[str, type] = {
    "prepare": configs.PrepareConfig, "pretrain": configs.PretrainConfig, "finetune": configs.FinetuneConfig,
    "embed": configs.EmbedConfig, "train": TrainConfig, "evaluate": configs.EvaluateConfig}
_ADAPTER_KEYS = {item.name for item in fields(AdapterConfig)}
_ARM_KEYS = ("name", "embeddings")
_KEYS = ("source", "items", "seeds", "arms", *_SECTIONS)


@dataclass(frozen=True)
class Arm:
    """One of the ways of training that are compared."""

    number: int
    """From 1."""
    name: str
    embeddings: str
    """``none``, ``untuned`` or ``tuned``."""
    train: TrainConfig

    @property
    def folder(self) -> str:
        """Name for folders."""
        return "-".join([str(self.number), *re.findall(r"[a-z0-9]+", self.name.lower())])


@dataclass(frozen=True)
class RunConfig:
    """A parsed configuration file."""

    source: str | None
    """None: the data are given with --data."""
    items: str | None
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
    arms = _arms(values, problems)
    problems += _refit_problems(arms, stages)
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
    if problems:
        raise TslrecError(f"{path}: " + "; ".join(problems))
    return RunConfig(values.get("source"), values.get("items"), seeds, arms, stages)


def _refit_problems(arms: Sequence[Arm], stages: Mapping[str, Any]) -> list[str]:
    """Return why the arms can't be evaluated together, before they are trained."""
    refits = dict.fromkeys(arm.train.refit for arm in arms)
    if "all" in refits:
        return ["refit = all: such an arm has learned the targets that tslrec run evaluates; train it by tslrec train"]
    if "validation" in refits and "evaluate" in stages and stages["evaluate"].split == "validation":
        return ["refit = validation: such an arm has learned the targets of [evaluate] split = validation"]
    return [f"refit: the arms have {' and '.join(refits)}; all must have the same to be compared"] * (len(refits) > 1)


def _arms(values: Mapping[str, Any], problems: list[str]) -> list[Arm]:
    """Parse [[arms]]: name, embeddings, and keys that override [train].

    An arm ignores keys of [train] that it does not read, such as ``experts`` with another adapter; but at least one arm
    must read them. Each arm must read all its own keys.
    """
    arms: list[Arm] = []
    left_out: list[dict[str, str]] = []
    given = values.get("arms")
    shared = values.get("train", {})
    if any(problem.startswith("[train]") for problem in problems):
        shared = {}  # its problems are listed already
    if not isinstance(given, list) or not given or not all(isinstance(arm, dict) for arm in given):
        problems.append("[[arms]]: expected at least one")
        return arms
    for number, arm in enumerate(given, 1):
        where, name = f"[[arms]] {number}", arm.get("name", f"arm {number}")
        if not isinstance(name, str) or not name or not name.isprintable():
            problems.append(f"{where}: name: {name!r} is not a string of printable characters")
            continue
        own = {key: value for key, value in arm.items() if key not in _ARM_KEYS}
        try:
            settings, unread = overlaid(TrainConfig, shared, own)
            train = from_mapping(TrainConfig, settings, where, also=_ARM_KEYS)
        except TslrecError as error:
            problems.append(str(error))
            continue
        embeddings = arm.get("embeddings", "none")
        if embeddings not in EMBEDDINGS:
            problems.append(f"{where}: embeddings: {embeddings!r} is not one of {', '.join(EMBEDDINGS)}")
        elif (embeddings == "none") != (train.adapter == "none"):
            problems.append(f"{where}: embeddings {embeddings!r} with the adapter {train.adapter!r}; an arm has "
                            f"both or neither (adapters: {', '.join(ADAPTERS)})")
        if embeddings == "untuned" and train.vectors in ("preferences", "both"):
            problems.append(f"{where}: vectors {train.vectors!r} need a fine-tuned model's head; the embeddings "
                            "'untuned' only have states")
        if "seed" in own:
            problems.append(f"{where}: seed: the seeds are those of all arms; give them in `seeds`")
        arms.append(Arm(number, name, embeddings, train))
        left_out.append(unread)
    if arms and len(arms) == len(given):
        problems += [f"[train]: no arm reads {key}: {text}" for key, text in left_out[0].items()
                     if all(key in others for others in left_out)]
    if len({arm.name for arm in arms}) < len(arms):
        problems.append("[[arms]]: two arms have the same name")
    return arms
