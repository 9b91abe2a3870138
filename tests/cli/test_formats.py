"""Reports as text, JSON, CSV, Markdown and LaTeX: read back, they give the report's figures."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from tslrec_min.cli.formats import CSV_COLUMNS, FORMATS, formatted, latex_text, markdown_text
from tslrec_min.configs import EvaluateConfig
from tslrec_min.evaluation.summary import report_of, summarise
from tslrec_min.ranking.significance import stars

from .factories import ARMS, N_USERS, parts

DATA = {"evaluated_users": N_USERS, "users": N_USERS, "items": 300, "split_hash": "0123456789abcdef" * 4}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    ranks, groups = parts()
    return report_of("test", DATA, {arm: [f"run{i}" for i in range(3 - place)] for place, arm in enumerate(ARMS)},
                     summarise(ranks, groups, EvaluateConfig()))


def test_csv_reads_back(report: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(formatted(report, "csv"))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == len({tuple(row[key] for key in CSV_COLUMNS[:4]) for row in rows}) == 3 * 7 * 2 * 5
    tests = {(found["arm"], found["metric"], found["group"]): found for found in report["comparisons"]}
    for row in rows:
        arm = report["arms"][row["arm"]]
        figures, base = (of[row["protocol"]] if row["group"] == "all" else of["groups"][row["protocol"]][row["group"]]
                         for of in (arm, report["arms"][ARMS[0]]))
        found = figures[row["metric"]]
        assert (float(row["mean"]), float(row["std"]), int(row["n_runs"])) == (
            found["mean"], found["std"], len(found["runs"]))
        assert int(row["users"]) == (N_USERS if row["group"] == "all" else report["groups"]["users"][row["group"]])
        test = tests.pop((row["arm"], row["metric"], row["group"]), None) if row["protocol"] == "filtered" else None
        assert (row["p"], row["p_holm"]) == ((str(test["p_value"]), str(test["p_holm"])) if test else ("", ""))
        if row["arm"] == ARMS[0]:
            assert row["relative"] == ""
        else:
            assert float(row["relative"]) == pytest.approx(found["mean"] / base[row["metric"]]["mean"] - 1)
        assert test is None or float(row["relative"]) == pytest.approx(test["relative"])
    assert not tests


def check_figures(tables: list[list[list[str]]], report: dict[str, Any], bold: str) -> None:
    """Compare the cells of the three tables, unescaped but for the bold ones, with the report."""
    metrics, lift, groups = tables
    assert [row[0] for row in metrics[1:]] == [row[0] for row in groups[1:]] == list(ARMS)
    assert [row[0] for row in lift[1:]] == list(ARMS[1:])
    columns = [("filtered", name) for name in report["arms"][ARMS[0]]["filtered"]]
    columns += [("unfiltered", "hr@10"), ("unfiltered", "ndcg@10")]
    for place, (protocol, name) in enumerate(columns, 1):
        means = [report["arms"][arm][protocol][name]["mean"] for arm in ARMS]
        for row, mean in zip(metrics[1:], means, strict=True):
            assert (re.match(bold, row[place]) is not None) == (mean == max(means)), row
            assert f"{mean:.4f}"[1:] in row[place]
    for row in lift[1:]:
        tests = [found for found in report["comparisons"] if found["arm"] == row[0]]
        assert row[1:] == [text for found in tests for text in (
            f"{found['relative']:+.1%}", f"{found['p_holm']:.4f}".replace("0.", ".") + stars(found["p_holm"]))]
    assert any(row[2].endswith("*") for row in lift[1:])
    assert len(groups[0]) == 1 + 2 * 4


def test_markdown_has_whole_rows_and_reads_back(report: dict[str, Any]) -> None:
    text = formatted(report, "markdown")
    tables = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)][1:-1] for line in block.splitlines()]
            assert len({len(row) for row in rows}) == 1 and set(rows[1]) <= {":--", "--:"}
            tables.append([[re.sub(r"\\([^a-z\s])", r"\1", cell) for cell in row] for row in (rows[0], *rows[2:])])
        else:
            assert "\n" not in block and not re.search(r"(?<!\\)[*_<|]", block)
    check_figures(tables, report, r"\*\*")


def test_latex_has_whole_rows_and_escapes(report: dict[str, Any]) -> None:
    text = formatted(report, "latex")
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 3
    assert not re.search(r"(?<!\\)[%#_~^]", text)
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    undo = [(latex_text(symbol), symbol) for symbol in r"\~^±<>|&%$#_{}"]
    tables = []
    for columns, block in re.findall(r"\\begin\{tabular\}\{(l?r+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in block.splitlines() if line != r"\hline"]
        assert {len(row) for row in rows} == {len(columns)} and columns[0] == "l"
        tables.append([[literal(cell.strip(), undo) for cell in row] for row in rows])
    check_figures(tables, report, r"\\textbf")


def literal(cell: str, undo: list[tuple[str, str]]) -> str:
    if cell.startswith(r"\textbf"):
        return cell
    pattern = "|".join(re.escape(escaped) for escaped, _ in sorted(undo, key=lambda pair: -len(pair[0])))
    return re.sub(pattern, lambda found: dict(undo)[found[0]], cell)


def test_arms_that_learned_from_validation_items_are_marked() -> None:
    ranks, groups = parts()
    marked = report_of("test", DATA, {arm: ["run"] for arm in ARMS}, summarise(ranks, groups, EvaluateConfig()), "n-1")
    text = formatted(marked, "table")
    rows = [line for line in text.splitlines() if line.startswith(ARMS)]
    assert len(rows) == 3 * len(ARMS) - 1 and all(line.split("  ")[0].endswith(" (n-1)") for line in rows)
    assert f"lift over {ARMS[0]} (n-1)" in text and "(n-1): learned from the training and validation items" in text
    for output_format in ("markdown", "latex"):
        assert formatted(marked, output_format).count("(n-1)") == len(rows) + 2
    assert {row["learned_from"] for row in csv.DictReader(io.StringIO(formatted(marked, "csv")))} == {"n-1"}
    assert json.loads(formatted(marked, "json")) == marked


def test_escapes() -> None:
    assert latex_text(r"a_b 5% & {c} #1 $2 \d ~^ <|>") == (
        r"a\_b 5\% \& \{c\} \#1 \$2 \textbackslash{}d \textasciitilde{}\textasciicircum{} $<$$\vert$$>$")
    assert markdown_text("a_b | *c* [d] `e` \\ <f>\n~g") == r"a\_b \| \*c\* \[d\] \`e\` \\ \<f\> \~g"


def test_text_explains_itself_and_json_is_the_report(report: dict[str, Any]) -> None:
    text = formatted(report, "table")
    threshold = report["groups"]["length_threshold"]
    for part in (f"lift over {ARMS[0]}", "Holm's correction for all 6 comparisons; * p < .05, ** p < .01, *** p < .001",
                 f"short: at most {threshold:g} training items", f"({report['groups']['users']['tail']} users)",
                 "(ids_only: 3, "):
        assert part in text
    assert "--resamples" not in text
    assert "*** needs more --resamples" in formatted(report | {"resamples": 5000}, "table")
    assert "no p is below 1.0000" in formatted(report | {"resamples": 1}, "table")
    assert json.loads(formatted(report, "json")) == report
    alone = report | {"arms": {ARMS[2]: report["arms"][ARMS[2]]}, "comparisons": []}
    assert "lift" not in formatted(alone, "table") and "**" not in formatted(alone, "markdown")
    for output_format in FORMATS:
        assert formatted(alone, output_format)
