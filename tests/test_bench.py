"""The benchmark: its data have structure, a report has its schema, and the gate lets no regression pass."""

from __future__ import annotations

import copy
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tslrec_min.bench.figures import BETTER, Effort, relative_time
from tslrec_min.bench.gate import compare_reports, load_baseline, other_environment
from tslrec_min.bench.references import padded_batch, read_histories, rejected_negatives
from tslrec_min.bench.synthetic import Sizes, write_interactions
from tslrec_min.cli import main
from tslrec_min.errors import TslrecError

from . import _reference as reference
from ._pages import ROOT

BASELINE = ROOT / "benchmarks" / "baseline.json"


def bench(*words: object) -> Result:
    return CliRunner().invoke(main, ["bench", "--size", "tiny", *map(str, words)])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the tiny suite."""
    out = tmp_path_factory.mktemp("bench") / "report.json"
    result = bench("-o", out)
    assert result.exit_code == 0, result.output
    assert "kernel_ranking_time" in result.stdout and "sasrec_ndcg@10" in result.stdout
    return out


def check_schema(report: dict[str, Any]) -> None:
    assert report["schema"] == 1 and report["suite"].keys() == {"size", "seed", "model", "threads"}
    assert report["environment"].keys() == {"cpu", "processors", "instruction_set", "system", "load", "versions"}
    assert {"torch", "numpy", "tslrec-min", "llama-cpp-python"} <= report["environment"]["versions"].keys()
    assert list(report["seconds"]) == ["prepare", "pretrain", "finetune", "embed", "train", "evaluate", "all"]
    assert {"sasrec_ndcg@10", "popularity_ndcg@10", "held_out_kl", "constant_kl", "parity_f16", "parity_q8_0",
            "kernel_batching_time", "kernel_cloze_time", "kernel_sampling_uniform_time", "kernel_ranking_time",
            "kernel_sampling_popularity_time", "kernel_top_k_time", "kernel_dropout_time", "prepare_time", "train_time",
            "finetune_time", "embed_time", "evaluate_time"} <= report["figures"].keys()
    for name, figure in report["figures"].items():
        assert np.isfinite(figure["value"]) and figure["better"] in BETTER and figure["measures"], name
        assert name.endswith("_time") == ("reference_milliseconds" in figure), name


def test_a_report_has_its_schema(tiny: Path) -> None:
    check_schema(load_baseline(tiny))


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


def test_data_are_the_same_for_a_seed_and_have_structure(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        write_interactions(tmp_path / name, Sizes(users=200, items=80), seed)
    texts = [[(tmp_path / name / file).read_text() for file in ("interactions.csv", "items.csv")] for name in "abc"]
    assert texts[0] == texts[1] and texts[0] != texts[2]
    histories = read_histories(tmp_path / "a" / "interactions.csv")
    assert len(histories) == 200 and all(10 <= len(items) <= 24 for items in histories.values())
    pairs = [pair for items in histories.values() for pair in itertools.pairwise(items)]
    followers: dict[str, list[str]] = {}
    for first, second in pairs:
        followers.setdefault(first, []).append(second)
    commonest = sum(max(map(items.count, set(items))) for items in followers.values())
    assert commonest / len(pairs) > 0.6  # one item follows an item most of the time


def test_references_do_what_the_twins_do() -> None:
    items, starts, lengths = np.arange(1, 21, dtype=np.int32), np.array([0, 3, 18]), np.array([2, 5, 2])
    found = padded_batch(items, starts, lengths, np.empty((3, 5), np.int64))
    np.testing.assert_array_equal(found, reference.padded(items, starts, starts + lengths, 5))
    seen = np.zeros((2, 7), dtype=bool)
    seen[0, [1, 2, 3]] = seen[1, 6] = True
    for cumulative in (None, np.array([0, 0.5, 0.5, 0.6, 0.8, 0.9, 1])):
        drawn = rejected_negatives(seen, np.array([0, 1]), cumulative, 200, np.random.default_rng(0))
        wanted = [{4, 5, 6}, {1, 2, 3, 4, 5} if cumulative is None else {1, 3, 4, 5}]
        assert [set(row) for row in drawn.tolist()] == wanted


def test_times_are_of_the_processor() -> None:
    """A work that waits costs nothing, and one that is done twice costs twice as much."""
    def busy(times: int) -> Callable[[], object]:
        return lambda: [sum(range(60_000)) for _ in range(times)]

    waits = relative_time(lambda: (time.sleep(0.05), busy(1)()), busy(1), Effort(5, 5), "")
    assert 0.5 < waits.value < 2
    assert 1.5 < relative_time(busy(4), busy(2), Effort(9, 5), "").value < 2.7
