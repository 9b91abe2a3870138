"""The arms of a run: the ways of recommending that are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config_fields import from_mapping, overlaid, unknown_keys
from ..configs import ADAPTERS, CONTENT_MODELS, COUNTING_MODELS, TrainConfig
from ..errors import TslrecError

EMBEDDINGS = ("none", "tfidf", "encoder", "untuned", "tuned")
PARTS = {model: ("none", TrainConfig(model=model)) for model in COUNTING_MODELS
         if model not in CONTENT_MODELS} | {
    f"{model}:{kind}": (kind, TrainConfig(model=model)) for model in CONTENT_MODELS for kind in EMBEDDINGS[1:]}
"""What can be a part of a sum without being an arm -> its embeddings and how it is made."""
_KEYS = ("name", "embeddings")
_SUM_KEYS = ("name", "parts")


@dataclass(frozen=True)
class Arm:
    """One of the ways of recommending that are compared."""

    number: int
    """From 1."""
    name: str
    embeddings: str
    """One of EMBEDDINGS."""
    train: TrainConfig
    parts: tuple[str, ...] = ()
    """Names of arms, or of PARTS, whose scores it adds up; empty: it is trained itself."""

    @property
    def folder(self) -> str:
        """Name for folders."""
        return "-".join([str(self.number), *re.findall(r"[a-z0-9]+", self.name.lower())])

    @property
    def seeded(self) -> bool:
        """Whether it learns with a seed; without, all seeds would give the same."""
        return not self.parts and self.train.model not in COUNTING_MODELS


def parse_arms(given: Any, shared: Mapping[str, Any], problems: list[str]) -> list[Arm]:
    """Parse [[arms]]: name, embeddings, and keys that override [train]; or name and parts.

    An arm ignores keys of [train] that it does not read, such as ``experts`` with another adapter; but at least one arm
    must read them. Each arm must read all its own keys.

    Args:
        given: the value of the key ``arms``.
        shared: the section [train].
        problems: messages are added to it.
    """
    arms: list[Arm] = []
    left_out: list[dict[str, str]] = []
    if not isinstance(given, list) or not given or not all(isinstance(arm, dict) for arm in given):
        problems.append("[[arms]]: expected at least one")
        return arms
    for number, arm in enumerate(given, 1):
        where, name = f"[[arms]] {number}", arm.get("name", f"arm {number}")
        if not isinstance(name, str) or not name or not name.isprintable():
            problems.append(f"{where}: name: {name!r} is not a string of printable characters")
            continue
        if "parts" in arm:
            wrong = _problems_of_sum(arm, given)
            problems += [f"{where}: {problem}" for problem in wrong]
            arms.append(Arm(number, name, "none", TrainConfig(), () if wrong else tuple(arm["parts"])))
            continue
        own = {key: value for key, value in arm.items() if key not in _KEYS}
        try:
            settings, unread = overlaid(TrainConfig, shared, own)
            train = from_mapping(TrainConfig, settings, where, also=_KEYS)
        except TslrecError as error:
            problems.append(str(error))
            continue
        embeddings = arm.get("embeddings", "none")
        problems += [f"{where}: {problem}" for problem in _misfits(embeddings, train, own)]
        arms.append(Arm(number, name, embeddings, train))
        left_out.append(unread)
    if left_out and len(arms) == len(given):
        problems += [f"[train]: no arm reads {key}: {text}" for key, text in left_out[0].items()
                     if all(key in others for others in left_out)]
    if len({arm.name for arm in arms}) < len(arms):
        problems.append("[[arms]]: two arms have the same name")
    return arms


def _misfits(embeddings: Any, train: TrainConfig, own: Mapping[str, Any]) -> list[str]:
    """Return what doesn't fit in an arm."""
    if embeddings not in EMBEDDINGS:
        return [f"embeddings: {embeddings!r} is not one of {', '.join(EMBEDDINGS)}"]
    problems = []
    if train.model in CONTENT_MODELS:
        if embeddings == "none":
            problems.append(f"model {train.model!r} compares item embeddings; give `embeddings`")
    elif (embeddings == "none") != (train.adapter == "none"):
        problems.append(f"embeddings {embeddings!r} with the adapter {train.adapter!r}; an arm has both or neither "
                        f"(adapters: {', '.join(ADAPTERS)})")
    if embeddings != "tuned" and train.vectors not in ("auto", "states"):
        problems.append(f"vectors {train.vectors!r} need a fine-tuned model; the embeddings {embeddings!r} only "
                        "have states")
    if "seed" in own:
        problems.append("seed: the seeds are those of all arms; give them in `seeds`")
    return problems


def _problems_of_sum(arm: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> list[str]:
    problems, parts = unknown_keys(arm, _SUM_KEYS), arm["parts"]
    others = [other.get("name", f"arm {number}") for number, other in enumerate(given, 1) if "parts" not in other]
    if not isinstance(parts, list) or len(parts) < 2 or not all(isinstance(part, str) for part in parts):
        return [*problems, f"parts: {parts!r} is not a list of at least two names of arms"]
    if len(set(parts)) < len(parts):
        problems.append(f"parts: {parts!r} has duplicates")
    return problems + [f"parts: {part!r} is neither an arm without parts ({', '.join(map(repr, others))}) nor one of "
                       f"{', '.join(PARTS)}" for part in parts if part not in (*others, *PARTS)]


def embeddings_of(arms: Sequence[Arm]) -> set[str]:
    """Return the kinds of item embeddings that the arms and their parts need."""
    names = {arm.name for arm in arms}
    of_parts = {PARTS[part][0] for arm in arms for part in arm.parts if part not in names}
    return {arm.embeddings for arm in arms} | of_parts
