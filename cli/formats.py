"""Reports of evaluations and comparisons as text, JSON, CSV, Markdown and LaTeX.

Text, Markdown and LaTeX have three tables: the metrics, the lift over the baseline with its p-values, and the groups of
users; further ones for cold items and for recommended lists, if the report has them. CSV has all figures but those of
cold items, one row per arm, metric, protocol and group.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from typing import Any

import click

from .tables import mean_and_deviation, short, table

FORMATS = ("table", "json", "csv", "markdown", "latex")
CSV_COLUMNS = ("arm", "metric", "protocol", "group", "users", "mean", "std", "n_runs", "relative", "p", "p_holm",
               "learned_from")

_BRIEF = ("hr@10", "ndcg@10")
"""Metrics of the unfiltered ranking and of the groups, if the report has them."""
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
          "<": "$<$", ">": "$>$", "|": r"$\vert$"} | {symbol: f"\\{symbol}" for symbol in "&%$#_{}"}

_LISTS = {"coverage": ("catalogue", ".1%"), "gini": ("Gini", ".3f"), "popularity": ("popularity", ".1f"),
          "percentile": ("less popular", ".1%"), "novelty": ("novelty", ".2f"), "distance": ("distance", ".3f")}
"""Figure of recommended lists -> its column and the format of its numbers."""

format_option = click.option("--format", "output_format", type=click.Choice(FORMATS), default="table",
                             show_default=True, help="Tables as text, Markdown or LaTeX; all figures as JSON or CSV.")


@dataclass(frozen=True)
class Sheet:
    """A table with a title and notes; plain text that the formats escape."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    best: Mapping[int, set[int]] = field(default_factory=dict)
    """Column -> rows with its highest value."""


def formatted(report: Mapping[str, Any], output_format: str) -> str:
    """Return a report of `evaluate` or `compare` in one of FORMATS, without a final newline."""
    if output_format == "json":
        return json.dumps(report)
    if output_format == "csv":
        return _csv(report)
    report = _marked(report)
    sheets = [_metrics_sheet(report), *([_lift_sheet(report)] if report["comparisons"] else []), _groups_sheet(report),
              *([_cold_sheet(report["cold"])] if "cold" in report else []),
              *([_lists_sheet(report)] if all(arm.get("beyond_accuracy") for arm in report["arms"].values()) else [])]
    render: Callable[[Sheet], str] = {"table": _text, "markdown": _markdown, "latex": _latex}[output_format]
    return "\n\n".join(render(sheet) for sheet in sheets)


def _marked(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report with the arms that learned from validation items too called ``NAME (n-1)``."""
    names = {arm: f"{arm} (n-1)" if values.get("learned_from") == "n-1" else arm
             for arm, values in report["arms"].items()}

    def renamed(arms: Mapping[str, Any]) -> dict[str, Any]:
        return {names[arm]: values for arm, values in arms.items()}

    tests = [test | {key: names[test[key]] for key in ("arm", "baseline")} for test in report["comparisons"]]
    cold = {"cold": {**report["cold"], "arms": renamed(report["cold"]["arms"])}} if "cold" in report else {}
    return {**report, "arms": renamed(report["arms"]), "comparisons": tests} | cold


def check_metrics(context: click.Context, parameter: click.Parameter, names: Sequence[str]) -> tuple[str, ...] | None:
    """Click callback of --metric: the names in lower case, or None if there is none."""
    from ..ranking.metrics import metric_values  # with NumPy, which --help does without
    from ..ranking.ranks import Ranks

    nobody = Ranks(*[()] * 3)  # type: ignore[arg-type]
    for name in names:
        try:
            metric_values(nobody, name.lower())
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return tuple(dict.fromkeys(name.lower() for name in names)) or None


def _metrics_sheet(report: Mapping[str, Any]) -> Sheet:
    data, arms = report["data"], report["arms"]
    names = next(iter(arms.values()))["filtered"]
    columns = [("filtered", name) for name in names] + [("unfiltered", name) for name in _brief(report)]
    title = (f"{report['split']}: {data['evaluated_users']:,} users, {data['items']:,} items, full ranking, seen items "
             f"left out (last columns: kept); split {data['split_hash'][:16]}")
    header = [name.upper() + " kept" * (protocol == "unfiltered") for protocol, name in columns]
    runs = {arm: len(values["runs"]) for arm, values in arms.items()}
    different = set(runs.values())
    counts = [f"{arm}: {n}" for arm, n in runs.items()] if len(different) > 1 else [f"{n} each" for n in different]
    notes = [f"mean±standard deviation over runs ({', '.join(counts)})"] if max(runs.values()) > 1 else []
    if any(values.get("learned_from") == "n-1" for values in arms.values()):
        notes.append("(n-1): learned from the training and validation items (--refit validation); not comparable with "
                     "figures of runs that learned from the training items alone")
    return _figures(title, header, arms, columns, notes)


def _groups_sheet(report: Mapping[str, Any]) -> Sheet:
    about, arms, brief = report["groups"], report["arms"], _brief(report)
    columns = [(group, name) for group, users in about["users"].items() if users for name in brief]
    header = [f"{group if name == brief[0] else ''} {name.upper()}".strip() for group, name in columns]
    users = {group: f"({count:,} users)" for group, count in about["users"].items()}
    notes = [f"head: the target is among the {about['head_share']:.0%} of the items that are most popular by training "
             f"interactions {users['head']}, tail: it is not {users['tail']}",
             f"short: at most {about['length_threshold']:g} training items, the median {users['short']}, long: more "
             f"{users['long']}"]
    return _figures("groups of users, seen items left out", header, arms,
                    [("groups", "filtered", *column) for column in columns], notes)


def _cold_sheet(cold: Mapping[str, Any]) -> Sheet:
    from ..ranking.metrics import COLD_METRICS

    columns = [(among, metric) for among in ("all", "cold") for metric in COLD_METRICS]
    rows = [[arm, *("-" if "reason" in values else mean_and_deviation(values[among][metric])
                    for among, metric in columns)] for arm, values in cold["arms"].items()]
    rows += [[label, *(short(cold[order][among][metric]) for among, metric in columns)]
             for label, order in (("(popularity)", "popularity"), ("(random order)", "random"))]
    notes = ["-: an adapter that has vectors only for training items"] if any(
        "reason" in values for values in cold["arms"].values()) else []
    return Sheet(f"cold start: {cold['users']:,} users, {cold['items']:,} items held out of training, ranked among all "
                 "items and among themselves; seen items are left out",
                 ["", *(f"{metric.upper()} {among}" for among, metric in columns)], rows, notes)


def _lists_sheet(report: Mapping[str, Any]) -> Sheet:
    arms = {arm: summary["beyond_accuracy"] for arm, summary in report["arms"].items()}
    names = [(name, *name.split("@")) for name in next(iter(arms.values()))]
    rows = [[arm, *(_with_deviation(figures[name], _LISTS[short][1]) for name, short, _ in names)]
            for arm, figures in arms.items()]
    notes = ["catalogue: share of the items that are in a list; Gini: 0 if all items are recommended equally often, "
             "near 1 if few are; popularity: interactions in training, and the share of the items that have fewer; "
             "novelty: -log2 of an item's share of these interactions"]
    if any(short == "distance" for _, short, _ in names):
        notes.append("distance: 1 - cosine of two items of a list")
    return Sheet(f"the {names[0][2]} best items of every user, seen items left out",
                 ["", *(_LISTS[short][0] for _, short, _ in names)], rows, notes)


def _with_deviation(values: Mapping[str, Any], form: str) -> str:
    return "±".join(format(values[key], form) for key in ("mean", "std")[:len(values["runs"])])


def _figures(title: str, header: Sequence[str], arms: Mapping[str, Any],
             columns: Sequence[tuple[str, ...]], notes: Sequence[str]) -> Sheet:
    """Return a sheet of means and deviations, one row per arm; `columns` are the keys of their figures in an arm."""
    cells = [[reduce(getitem, keys, arm) for keys in columns] for arm in arms.values()]
    rows = [[name, *map(mean_and_deviation, figures)] for name, figures in zip(arms, cells, strict=True)]
    best: dict[int, set[int]] = {}
    for place, column in enumerate(zip(*cells, strict=True), 1):
        means = [figures["mean"] for figures in column]
        best[place] = {row for row, mean in enumerate(means) if mean == max(means)} if len(means) > 1 else set()
    return Sheet(title, ["", *header], rows, notes, best)


def _lift_sheet(report: Mapping[str, Any]) -> Sheet:
    comparisons = report["comparisons"]
    tests = {(test["arm"], test["metric"], test["group"]): test for test in comparisons}
    columns = list(dict.fromkeys((metric, group) for _, metric, group in tests))
    names = [metric.upper() if group == "all" else f"{group} {metric.upper()}" for metric, group in columns]
    header = [text for name in names for text in (name, "p (Holm)")]
    rows = [[arm, *(text for column in columns for text in lift_cells(tests[arm, *column]))]
            for arm in dict.fromkeys(arm for arm, _, _ in tests)]
    notes = [f"p: paired {comparisons[0]['test']} test over users, with Holm's correction for all {len(comparisons)} "
             "comparisons; * p < .05, ** p < .01, *** p < .001"]
    least = min(1, len(comparisons) / (1 + report["resamples"]))
    if least >= 0.001:
        notes.append(f"with {report['resamples']:,} resamples no p is below {short(least)}: *** needs more "
                     "--resamples")
    return Sheet(f"lift over {comparisons[0]['baseline']}", ["", *header], rows, notes)


def lift_cells(test: Mapping[str, Any]) -> tuple[str, str]:
    """Return the difference of a comparison and its corrected p-value with stars, as the cells of a table."""
    from ..ranking.significance import stars

    lift = f"{test['difference']:+.4f}" if test["relative"] is None else f"{test['relative']:+.1%}"
    return lift, short(test["p_holm"]) + stars(test["p_holm"]).ljust(3)


def _brief(report: Mapping[str, Any]) -> list[str]:
    """Return the metrics of the report that are given for groups too."""
    names = list(next(iter(report["arms"].values()))["filtered"])
    return [name for name in names if name in _BRIEF] or names


def _text(sheet: Sheet) -> str:
    return "\n".join([sheet.title, table(sheet.header, sheet.rows), *sheet.notes])


def _markdown(sheet: Sheet) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rows = _bold(sheet, markdown_text, "**{}**")
    lines = [line(list(map(markdown_text, sheet.header))), line([":--", *["--:"] * (len(sheet.header) - 1)]),
             *map(line, rows)]
    return "\n\n".join([markdown_text(sheet.title), "\n".join(lines), *map(markdown_text, sheet.notes)])


def _latex(sheet: Sheet) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    rows = _bold(sheet, latex_text, r"\textbf{{{}}}")
    columns = "l" + "r" * (len(sheet.header) - 1)
    return "\n".join([
        r"\begin{table}", rf"\caption{{{latex_text(sheet.title)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\hline",
        line(list(map(latex_text, sheet.header))), r"\hline", *map(line, rows), r"\hline", r"\end{tabular}",
        *(rf"\par\footnotesize {latex_text(note)}." for note in sheet.notes), r"\end{table}"])


def _bold(sheet: Sheet, escape: Callable[[str], str], bold: str) -> list[list[str]]:
    return [[bold.format(escape(cell)) if row in sheet.best.get(column, ()) else escape(cell.strip())
             for column, cell in enumerate(cells)] for row, cells in enumerate(sheet.rows)]


def markdown_text(text: str) -> str:
    """Escape text for Markdown, also for its tables."""
    return re.sub(r"([\\`*_\[\]<>&|~$])", r"\\\1", " ".join(text.split()))


def latex_text(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(symbol, symbol) for symbol in " ".join(text.split()))


def _csv(report: Mapping[str, Any]) -> str:
    """Return a header and the report's rows."""
    from ..evaluation.summary import report_rows

    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(report_rows(report))
    return stream.getvalue().removesuffix("\n")
