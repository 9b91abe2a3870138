"""Comparison of a report with an older one: which figures are worse than their tolerance allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TslrecError
from ..storage.artifacts import read_json
from .figures import BETTER

SCHEMA = 1
"""Version of the report; raised when old and new reports can no longer be compared."""


@dataclass(frozen=True)
class Verdict:
    """A figure of the baseline and its value in the new report."""

    name: str
    baseline: float
    now: float | None
    """None: it is not in the new report."""
    allowed: float
    """The worst value that passes."""
    better: str

    @property
    def change(self) -> float | None:
        """Relative change, positive where the value rose."""
        return None if self.now is None else self.now / self.baseline - 1

    @property
    def passed(self) -> bool:
        """Whether the value is there and not worse than allowed; NaN never passes."""
        if self.now is None:
            return False
        return self.now >= self.allowed if self.better == "higher" else self.now <= self.allowed


def compare_reports(report: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Verdict]:
    """Judge every figure of the baseline that has a tolerance, by that tolerance.

    Raises:
        TslrecError: the reports are of different suites.
    """
    differences = [f"{key} {value!r} in the baseline, {report['suite'].get(key)!r} here"
                   for key, value in baseline["suite"].items() if report["suite"].get(key) != value]
    if differences:
        raise TslrecError(f"the baseline is of another benchmark: {'; '.join(differences)}; give the same options, or "
                          "make a new baseline with --out")
    verdicts = []
    for name, figure in baseline["figures"].items():
        if figure.get("tolerance") is not None:
            sign = -1 if figure["better"] == "higher" else 1
            verdicts.append(Verdict(name, figure["value"], report["figures"].get(name, {}).get("value"),
                                    figure["value"] * (1 + sign * figure["tolerance"]), figure["better"]))
    return verdicts


def other_environment(report: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    """Return the differences in hardware and versions that figures may depend on."""
    here, there = report["environment"], baseline["environment"]
    differences = [f"{key} {there.get(key)} (here {here.get(key)})" for key in ("cpu", "processors", "instruction_set")
                   if here.get(key) != there.get(key)]
    versions = there.get("versions", {})
    return differences + [f"{name} {version} (here {here['versions'].get(name)})"
                          for name, version in versions.items() if here["versions"].get(name) != version]


def load_baseline(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        TslrecError: the file is missing or is not a report of this schema.
    """
    report = read_json(path)
    problem = _problem_of(report)
    if problem:
        raise TslrecError(f"{path} is not a baseline of this version: {problem}; make one with tslrec bench --out")
    return dict(report)


def _problem_of(report: Any) -> str | None:
    """Return what is wrong with the contents of a file, or None."""
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        return f"its schema is {report.get('schema') if isinstance(report, dict) else None}, expected {SCHEMA}"
    if not all(isinstance(report.get(key), dict) for key in ("suite", "environment", "figures")):
        return "it lacks suite, environment or figures"
    for name, figure in report["figures"].items():
        numbers = [figure.get("value"), figure.get("tolerance", 0)] if isinstance(figure, dict) else [None]
        if not (all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
                and figure["value"] > 0 and figure.get("tolerance", 0) >= 0 and figure.get("better") in BETTER):
            return f"{name} needs a value above 0, a tolerance of at least 0 and better, one of {', '.join(BETTER)}"
    return None

