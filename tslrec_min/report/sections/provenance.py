"""How it was made: time, memory, seeds and hashes of every stage, versions, configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...config_fields import is_read
from ...configs import (
    COUNTING_MODELS,
    EmbedConfig,
    EvaluateConfig,
    FinetuneConfig,
    PrepareConfig,
    PretrainConfig,
    ProbeConfig,
    TrainConfig,
)
from ...storage.artifacts import Artifact
from ..collect import EMBEDS, PART, Run
from ..text import duration, hash_code, quoted, setting, strong

_CONFIGS: dict[str, type] = {"dataset": PrepareConfig, "pretrain": PretrainConfig, "finetune": FinetuneConfig,
                             "embed": EmbedConfig, "train": TrainConfig, "evaluate": EvaluateConfig,
                             "probe": ProbeConfig}
_STAGES = dict.fromkeys(EMBEDS, "embed") | {PART: "train, part of a sum"}
"""Role of an artifact -> its stage as shown, where they differ."""


def provenance(run: Run) -> dict[str, Any]:
    """Return the section on how the artifacts were made."""
    by_role = [(role, artifact) for role, of_role in run.stages.items() for artifact in of_role]
    artifacts = [artifact for _, artifact in by_role]
    records = [artifact.record for artifact in artifacts]
    rows = [[quoted(artifact.path.name), _STAGES.get(role, role), artifact.record.get("seed"),
             duration(artifact.record["wall_seconds"]), f"{artifact.record['peak_memory_mib']:,.0f}",
             hash_code(artifact.hash)] for role, artifact in by_role]
    rows.append(["all", "", "", duration(sum(record["wall_seconds"] for record in records)),
                 f"{max(record['peak_memory_mib'] for record in records):,.0f}", ""])
    versions: dict[str, list[str]] = {}  # stages may have been made with different ones
    for record in records:
        for package, version in record["versions"].items():
            versions.setdefault(package, []).append(str(version))
    return {"rows": rows, "configurations": [_configuration(artifact) for artifact in artifacts],
            "versions": [(package, ", ".join(dict.fromkeys(of_stages))) for package, of_stages in versions.items()]}


def _configuration(artifact: Artifact) -> dict[str, Any]:
    config, config_class = artifact.config, _CONFIGS[artifact.record["kind"]]
    fields = {item.name: item for item in dataclasses.fields(config_class)}
    counting = config.get("model") in COUNTING_MODELS  # hardly reads any of the settings that it is recorded with
    chosen = {name: item.default for name, item in fields.items()} | config  # another version may know other ones
    settings = []
    for key, value in _flat(config).items():
        if counting and key in fields and not is_read(config_class, key, chosen):
            continue
        field, shown = fields.get(key), setting(", ".join(map(quoted, value)) if isinstance(value, list) else value)
        settings.append((key, field.metadata["help"] if field else None,
                         strong(shown) if field and value != field.default else shown))
    return {"name": quoted(artifact.path.name), "settings": settings, "hash": artifact.hash,
            "inputs": [(key, None, hash_code(str(value))) for key, value in artifact.record["inputs"].items()]}


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the arms of evaluate, which the tables name, and with a template's parts."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{part}": inner for part, inner in value.items()}
        elif key != "arms":
            flat[key] = value
    return flat
