"""The benchmark: its data have structure, a report has its schema, and the gate lets no regression pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tslrec_min.bench.gate import compare_reports, load_baseline, other_environment
from tslrec_min.errors import TslrecError

from ..factories import ROOT
from .factories import bench, check_schema

BASELINE = ROOT / "benchmarks" / "baseline.json"


def test_what_is_shipped_is_a_baseline_of_the_full_suite() -> None:
    report = load_baseline(BASELINE)
    check_schema(report)
    assert report["suite"] == {"size": "full", "seed": 0, "model": "tiny", "threads": 1}
    figures = {name: figure["value"] for name, figure in report["figures"].items()}
    assert figures["sasrec_ndcg@10"] > 3 * figures["popularity_ndcg@10"]
    assert figures["held_out_kl"] < 0.7 * figures["constant_kl"]
    assert min(figures["parity_f16"], figures["parity_q8_0"]) > 0.995
    # Twice the time of a kernel, or a tenth less of SASRec's NDCG, is never let through.
    for name, figure in report["figures"].items():
        if name.startswith("kernel"):
            assert figure["tolerance"] <= 0.8, name
    assert report["figures"]["sasrec_ndcg@10"]["tolerance"] < 0.1


def test_a_report_passes_the_check_against_itself(tiny: Path) -> None:
    report = load_baseline(tiny)
    verdicts = compare_reports(report, report)
    assert all(verdict.passed and verdict.change == 0 for verdict in verdicts)
    assert {verdict.name for verdict in verdicts} == {name for name, figure in report["figures"].items()
                                                      if "tolerance" in figure}
    assert other_environment(report, report) == []


def test_the_command_checks_and_says_what_regressed(tiny: Path, tmp_path: Path) -> None:
    report = json.loads(tiny.read_text())
    for figure in report["figures"].values():  # times of one turn say nothing, and quality is the same
        if "tolerance" in figure:
            figure["tolerance"] = 1e9 if figure["better"] == "lower" else 1
    easy, doctored = tmp_path / "easy.json", tmp_path / "doctored.json"
    easy.write_text(json.dumps(report))
    result = bench("--check", easy)
    assert result.exit_code == 0 and "REGRESSED" not in result.output, result.output
    report["figures"]["sasrec_ndcg@10"] |= {"value": report["figures"]["sasrec_ndcg@10"]["value"] / 0.9,
                                            "tolerance": 0.05}
    report["figures"]["gone"] = report["figures"]["held_out_kl"]
    doctored.write_text(json.dumps(report))
    result = bench("--check", doctored, "--json")
    assert result.exit_code == 1 and "2 of " in result.stderr and "sasrec_ndcg@10, gone" in result.stderr
    failed = [row for row in json.loads(result.stdout)["check"] if not row["passed"]]
    assert [row["figure"] for row in failed] == ["sasrec_ndcg@10", "gone"] and failed[1]["now"] is None


@pytest.mark.parametrize("change, failed", [
    ({}, False), ({"value": 0.96}, False), ({"value": 1.5}, False), ({"value": 0.94}, True),
    ({"value": float("nan")}, True)])
def test_a_figure_may_fall_by_its_tolerance(change: dict[str, Any], failed: bool) -> None:
    environment = {"cpu": "a", "versions": {}}
    baseline = {"schema": 1, "suite": {"size": "tiny"}, "environment": environment,
                "figures": {"x": {"value": 1.0, "better": "higher", "tolerance": 0.05},
                            "y": {"value": 2.0, "better": "lower", "tolerance": 0.6},
                            "z": {"value": 1.0, "better": "higher"}}}
    report = copy.deepcopy(baseline)
    report["figures"]["x"] |= change
    report["figures"]["y"]["value"] = 3.1
    report["figures"]["z"]["value"] = 0.1  # has no tolerance: never judged
    verdicts = compare_reports(report, baseline)
    assert [(verdict.name, verdict.passed) for verdict in verdicts] == [("x", not failed), ("y", True)]
    report["figures"]["y"]["value"] = 3.3
    assert not compare_reports(report, baseline)[1].passed
    report["environment"]["cpu"] = "b"
    assert other_environment(report, baseline) == ["cpu a (here b)"]
    report["suite"]["size"] = "full"
    with pytest.raises(TslrecError, match="size 'tiny' in the baseline, 'full' here"):
        compare_reports(report, baseline)


@pytest.mark.parametrize("doctor, message", [
    (lambda report: report.update(schema=0), "its schema is 0, expected 1"),
    (lambda report: report.pop("suite"), "it lacks suite, environment or figures"),
    (lambda report: report["figures"]["held_out_kl"].update(value=0), "held_out_kl needs a value above 0"),
    (lambda report: report["figures"]["held_out_kl"].update(better="bigger"), "held_out_kl needs"),
    (lambda report: report["figures"]["held_out_kl"].update(tolerance=-1), "held_out_kl needs"),
])
def test_what_is_no_baseline_is_refused_before_anything_runs(tiny: Path, tmp_path: Path,
                                                             doctor: Callable[[dict[str, Any]], object], message: str
                                                             ) -> None:
    report = json.loads(tiny.read_text())
    doctor(report)
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(report))
    result = bench("--check", broken)
    assert result.exit_code == 1 and message in result.stderr
    assert bench("--check", tmp_path / "nothing.json").exit_code == 1
    assert bench("-o", tiny).exit_code == 1 and "--overwrite" in bench("-o", tiny).stderr
