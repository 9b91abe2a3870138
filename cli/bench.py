"""``tslrec bench``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import PATH, json_option, start_torch
from .tables import table

if TYPE_CHECKING:
    from ..bench.gate import Verdict


@click.command()
@click.option("--check", type=PATH, help="Compare with the baseline in this file: exit status 1 if a figure is worse "
                                         "than it allows.")
@click.option("--out", "-o", type=PATH, help="Also write the report to this file, as a baseline for --check.")
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
@click.option("--model", help="Language model for the stages that need one: an alias, a .gguf file, a Hugging Face "
                              "folder or hub id.  [default: a small random one]")
@click.option("--size", type=click.Choice(("full", "tiny")), default="full", show_default=True,
              help="tiny: takes seconds and shows that everything runs; its figures mean nothing.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True,
              help="Number of threads; ratios are steadiest with one.")
@json_option
def bench(check: Path | None, out: Path | None, overwrite: bool, model: str | None, size: str, threads: int,
          as_json: bool) -> None:
    """Run the benchmark: the results of all stages on synthetic data, and the speed of the kernels.

    Nothing is downloaded, and only --out is kept on disk. The data are drawn from a fixed seed and have structure, so
    SASRec can be far better than popularity. Speeds are ratios of processor time to a reference that is timed in
    turns with the work, so they are meaningful on a busy machine. docs/benchmarking.md describes each figure and how
    to use the check in continuous integration.

    \b
    Examples:
        tslrec bench
        tslrec bench -o baseline.json
        tslrec bench --check baseline.json --json
    """
    from ..bench.gate import compare_reports, load_baseline, other_environment
    from ..runtime.progress import note
    from ..storage.artifacts import write_json
    from ..storage.atomic import output_files

    baseline = load_baseline(check) if check else None
    with output_files(*([out] if out else []), overwrite=overwrite) as files:
        start_torch("cpu", threads)
        from ..bench.suite import run_suite

        report = run_suite(size, model=model, threads=threads)
        for file in files:
            write_json(file, report)
    verdicts = compare_reports(report, baseline) if baseline else []
    if baseline and (differences := other_environment(report, baseline)):
        note(f"the baseline was made elsewhere: {'; '.join(differences)}")
    if as_json:
        checked = [{"figure": verdict.name, "baseline": verdict.baseline, "now": verdict.now,
                    "allowed": verdict.allowed, "passed": verdict.passed} for verdict in verdicts]
        click.echo(json.dumps(report | ({"check": checked} if baseline else {})))
    else:
        click.echo(_text(report, verdicts))
    failed = [verdict.name for verdict in verdicts if not verdict.passed]
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(verdicts)} figures are worse than {check} allows: "
                                   f"{', '.join(failed)}")


def _text(report: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """Lay out the report as text, followed by the verdicts."""
    machine, suite = report["environment"], report["suite"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report["seconds"].items())
    rows = [(name, f"{figure['value']:.4f}", _milliseconds(figure), figure["measures"])
            for name, figure in report["figures"].items()]
    lines = [f"{machine['cpu']}, {machine['processors']} processors, {suite['threads']} threads used, "
             f"{machine['instruction_set']}, load {machine['load']}", versions, stages, "",
             table(("figure", "value", "ms / reference ms", "what it is"), rows)]
    if verdicts:
        lines += ["", table(("checked", "baseline", "now", "change", "allowed", ""), [_row(verdict)
                                                                                     for verdict in verdicts])]
    return "\n".join(lines)


def _milliseconds(figure: Mapping[str, Any]) -> str:
    if "milliseconds" not in figure:
        return ""
    return f"{figure['milliseconds']:.2f} / {figure['reference_milliseconds']:.2f}"


def _row(verdict: Verdict) -> tuple[str, ...]:
    bound = ">=" if verdict.better == "higher" else "<="
    return (verdict.name, f"{verdict.baseline:.4f}", "missing" if verdict.now is None else f"{verdict.now:.4f}",
            "" if verdict.change is None else f"{verdict.change:+.1%}", f"{bound} {verdict.allowed:.4f}",
            "ok" if verdict.passed else "REGRESSED")
