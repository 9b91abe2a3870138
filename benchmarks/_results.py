"""Results of a study as a small file: means, figures by seed, groups and tests, one line for each.

Of the depths 10 is kept. Ranks by user, and other depths, stay in the folder of the run (`tslrec evaluate` keeps them).
Figures have eight decimals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DECIMALS = 8
TEST = ("arm", "baseline", "metric", "group", "test", "difference", "relative", "p_value", "p_holm", "low", "high")
STAGE = ("name", "wall_seconds", "peak_memory_mib")
METRICS = ("hr@10", "ndcg@10", "mrr")


def small(result: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, Any]:
    """Return what is kept of a run's result, or of a report of `tslrec evaluate`.

    ``source`` says where it comes from: command, machine, date, version.
    """
    report = result.get("evaluation", result)
    kept: dict[str, Any] = dict(source)
    kept |= {"split": report["split"], "data": report["data"], "groups": report["groups"],
             "resamples": report["resamples"]}
    kept["arms"] = {name: {protocol: _groups(arm, protocol) for protocol in ("filtered", "unfiltered")}
                    for name, arm in report["arms"].items()}
    kept["tests"] = [{key: row[key] for key in TEST if key in row} for row in report["comparisons"]]
    if "cold" in report:
        kept["cold"] = {**report["cold"], "arms": {
            name: {key: arm[key] for key in ("all", "cold", "reason") if key in arm}
            for name, arm in report["cold"]["arms"].items()}}
    if "stages" in result:
        kept["stages"] = [{key: stage[key] for key in STAGE} for stage in result["stages"]]
        kept |= {key: result[key] for key in ("category_neighbours", "advice", "seconds") if key in result}
    rounded: dict[str, Any] = _rounded(kept)
    return rounded


def _groups(arm: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    groups = {"all": arm[protocol], **arm["groups"][protocol]}
    return {group: {metric: figures[metric] for metric in METRICS} for group, figures in groups.items()}


def text(kept: Mapping[str, Any]) -> str:
    """Return the file's text: JSON with a line for each group of an arm, each test and each stage."""
    return _lines(kept, "", depths={"arms": 3, "cold": 2, "tests": 1, "stages": 1, "tables": 2, "rows": 1}) + "\n"


def _lines(value: Any, indent: str, depths: Mapping[str, int], depth: int = 1) -> str:
    """Return JSON that is spread over lines down to a depth, which names in `depths` change."""
    if not depth or not value or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    if isinstance(value, list):
        parts = [inner + _lines(item, inner, depths, depth - 1) for item in value]
        return "[\n" + ",\n".join(parts) + f"\n{indent}]"
    parts = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_lines(item, inner, depths, depths.get(key, depth - 1))}"
             for key, item in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
