"""``tslrec compare``."""

from __future__ import annotations

from pathlib import Path

import click

from ..configs import EvaluateConfig
from ..storage.atomic import output_files
from .formats import check_metrics, format_option, formatted
from .options import PATH, config_options, json_option


@click.command()
@click.argument("results", nargs=-1, required=True)
@click.option("--baseline", help="Arm that the others are compared with.  [default: the first one]")
@click.option("--metric", "metrics", multiple=True, callback=check_metrics,
              help="Metric to report and to test: hr@K, ndcg@K or mrr, with any K; repeatable.  [default: those of "
                   "evaluate]")
@format_option
@json_option
@click.option("--out", "-o", type=PATH, help="File to write instead of printing.")
@config_options(EvaluateConfig, without=("split", "head_share"))
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
def compare(results: tuple[str, ...], baseline: str | None, metrics: tuple[str, ...] | None, output_format: str,
            as_json: bool, out: Path | None, config: EvaluateConfig, overwrite: bool) -> None:
    """Compare arms that were evaluated separately, from their stored ranks; no model is loaded.

    RESULTS are folders that tslrec evaluate --out wrote, for the same data set and split, as PATH or, to rename the
    only arm of a folder, NAME=PATH. Several folders may contain the same arm, such as a common baseline, if its ranks
    are the same. Every other arm is compared with the baseline by a paired test over users.

    \b
    Examples:
        tslrec compare results-1 results-2
        tslrec compare results-1 gru4rec=results-3 --baseline ids --metric hr@50 --metric ndcg@50
        tslrec compare results-1 results-2 --format latex -o table.tex
    """
    from ..evaluation.compare import compare as compare_results

    with output_files(*([out] if out else []), overwrite=overwrite) as temporary:  # refuses an existing file first
        text = formatted(compare_results(results, config, baseline=baseline, metrics=metrics),
                         "json" if as_json else output_format)
        for file in temporary:
            file.write_text(text + "\n", encoding="utf-8")
    if not out:
        click.echo(text)
