"""``tslrec probe``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..configs import ProbeConfig
from ..storage.artifacts import expect_artifact
from ..storage.atomic import output_files
from .formats import lift_cells
from .options import DATASET, PATH, VECTORS_PATH, config_options, json_option, start_torch, threads_option
from .tables import short, table

_COLUMNS = {"ndcg@10": "NDCG@10", "hr@10": "HR@10", "tail_hr@10": "tail HR@10", "reachable_ndcg@10": "reachable NDCG",
            "unreachable_ndcg@10": "unreachable NDCG"}


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("embeddings", nargs=-1, required=True)
@config_options(ProbeConfig)
@threads_option
@json_option
@click.option("--out", "-o", type=PATH, help="File to write instead of printing.")
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
def probe(dataset: Path, embeddings: tuple[str, ...], config: ProbeConfig, threads: int, as_json: bool,
          out: Path | None, overwrite: bool) -> None:
    """Score item embeddings before anything is trained on them, alone and beside counts of transitions.

    EMBEDDINGS are PATH or NAME=PATH: folders that tslrec embed wrote, or files of vectors with their ids. A set of
    vectors is scored as train's --model content, by the cosine to the user's last items, which takes seconds; and
    summed with --model transitions, as tslrec fuse does. Constants and weights are chosen by validation targets,
    nothing else is learned from them, and nothing at all from test targets.

    The table also has NDCG@10 of the users that transitions can reach, as the target has followed one of their
    last items in training, and of the others, for whom only the vectors tell something. NDCG@10 of every set is
    compared with that of the first one by a paired permutation test over users, alone and in the sums, with Holm's
    correction for all comparisons.

    \b
    Examples:
        tslrec probe dataset embed-untuned embed
        tslrec probe dataset untuned=embed-untuned tuned=embed --vectors states --cca --control shuffled -o probe.txt
        tslrec probe dataset embed-untuned embed --split test --json
    """
    from ..evaluation.arms import parse_sets

    for path in (sets := parse_sets(embeddings)).values():  # before torch is loaded
        if path.is_dir():
            expect_artifact(path, "embed")
        else:
            VECTORS_PATH.check(path)
    start_torch("cpu", threads)
    from ..evaluation.probe import probe as probe_sets

    with output_files(*([out] if out else []), overwrite=overwrite) as temporary:  # refuses an existing file first
        report = probe_sets(dataset, sets, config, threads=threads)
        text = json.dumps(report) if as_json else probe_text(report)
        for file in temporary:
            file.write_text(text + "\n", encoding="utf-8")
    if not out:
        click.echo(text)


def probe_text(report: Mapping[str, Any]) -> str:
    """Return a report of `evaluation.probe.probe` as a table with notes."""
    data, groups, users = report["data"], report["groups"], report["groups"]["users"]
    tests = {test["arm"]: test for test in report["comparisons"]}
    last = "" if groups["items_read"] is None else f" last {groups['items_read']}"
    header = ["", *_COLUMNS.values(), *(["lift", "p (Holm)"] if tests else [])]
    rows = []
    for row in report["rows"]:
        figures = ["-" if row[key] is None else short(row[key]) for key in _COLUMNS]
        lift = lift_cells(tests[row["name"]]) if row["name"] in tests else ("", "")
        rows.append([row["name"], *figures, *(lift if tests else ())])
    lines = [f"{report['split']}: {data['evaluated_users']:,} users, {data['items']:,} items, full ranking, seen items "
             f"left out; split {data['split_hash'][:16]}", table(header, rows),
             f"reachable: in training, the target has followed one of the user's{last} items within "
             f"{report['rows'][0]['constants']['places']:g} places ({users['reachable']:,} users); unreachable: it has "
             f"not ({users['unreachable']:,})",
             f"tail: the target is not among the {groups['head_share']:.0%} of the items that are most popular "
             f"({users['tail']:,} users)"]
    if tests:
        baselines = " and ".join(dict.fromkeys(test["baseline"] for test in tests.values()))
        lines.append(f"lift: of NDCG@10 over {baselines}; p: paired permutation test over users, with Holm's "
                     f"correction for all {len(tests)} comparisons; * p < .05, ** p < .01, *** p < .001")
    if report["split"] == "validation":
        lines.append("the constants of all rows and the weights of the sums were chosen by these targets")
    return "\n".join(lines)
