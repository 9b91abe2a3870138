"""How a run was made: time, memory, seeds and hashes of every stage, versions, configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..configs import EmbedConfig, EvaluateConfig, FinetuneConfig, PrepareConfig, PretrainConfig, TrainConfig
from ..storage.artifacts import Artifact
from .collect import Run
from .markup import Content, Html, definitions, details, element, hash_code, paragraph, quoted, setting, table
from .summary import duration

_CONFIGS: dict[str, type] = {"dataset": PrepareConfig, "pretrain": PretrainConfig, "finetune": FinetuneConfig,
                             "embed": EmbedConfig, "train": TrainConfig, "evaluate": EvaluateConfig}


def provenance(run: Run, level: int) -> Html:
    """Return the section on how the artifacts were made; its headings are of a level, 2 to 6."""
    heading = f"h{level}"
    artifacts = [artifact for found in run.stages.values() for artifact in found]
    rows: list[list[Content]] = [
        [quoted(artifact.path.name), str(artifact.record["kind"]), _seed(artifact),
         duration(artifact.record["wall_seconds"]), f"{artifact.record['peak_memory_mib']:,.0f}",
         hash_code(artifact.hash)] for artifact in artifacts]
    records = [artifact.record for artifact in artifacts]
    rows.append(["all", "", "", duration(sum(record["wall_seconds"] for record in records)),
                 f"{max(record['peak_memory_mib'] for record in records):,.0f}", ""])
    return Html(
        paragraph("Hashes are over the contents of an artifact alone; every file was compared with its hash for this "
                  "page. Point at a hash to see all of it.")
        + table("Stages", ["folder", "stage", "seed", "time", "peak MiB", "hash"], rows, texts=2)
        + element(heading, "Versions") + _versions(artifacts)
        + element(heading, "Configurations and inputs")
        + paragraph("Bold: not the default.", class_="note")
        + Html("".join(_configuration(artifact) for artifact in artifacts)))


def _seed(artifact: Artifact) -> str:
    seed = artifact.record.get("seed")
    return "" if seed is None else str(seed)


def _versions(artifacts: list[Artifact]) -> Html:
    """Return the versions; where stages were made with different ones, all of these."""
    found: dict[str, list[str]] = {}
    for artifact in artifacts:
        for package, version in artifact.record["versions"].items():
            found.setdefault(package, []).append(str(version))
    return definitions(((package, ", ".join(dict.fromkeys(versions))) for package, versions in found.items()),
                       class_="facts")


def _configuration(artifact: Artifact) -> Html:
    kind = str(artifact.record["kind"])
    fields = dataclasses.fields(_CONFIGS[kind])
    defaults = {item.name: item.default for item in fields}
    helps = {item.name: str(item.metadata["help"]) for item in fields if "help" in item.metadata}
    pairs: list[tuple[Content, Content]] = []
    for key, value in _flat(artifact.config).items():
        shown = setting(value)
        term = element("code", key, title=helps.get(key))
        pairs.append((term, element("strong", shown) if key in defaults and value != defaults[key] else shown))
    inputs = [(element("code", key), hash_code(str(value))) for key, value in artifact.record["inputs"].items()]
    return details(quoted(artifact.path.name), definitions(pairs, class_="settings"),
                   paragraph("Hashes of the inputs:"), definitions(inputs, class_="settings"),
                   paragraph("Own hash: ", element("code", artifact.hash)))


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the arms of evaluate, which the tables name, and with a template's parts."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{part}": inner for part, inner in value.items()}
        elif key != "arms":
            flat[key] = value
    return flat
