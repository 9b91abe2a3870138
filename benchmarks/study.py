"""Do the embeddings help? The chain with every arm and seed of a study's configurations, and the tables.

A configuration is a file for `tslrec run`, ``study/FOLDER/NAME.toml``: what was chosen on validation, the arms and the
seeds. Those of a folder share the stages before training. Every stage and every training has its folder, and what is
finished is kept, so that an interrupted study goes on by the same command. Test targets are read at the end, when all
arms of a configuration are trained. What is kept of a result in `study/results` is said in `_results.py`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from _results import small, text

import tslrec_min
from tslrec_min.bench.environment import cpu_name
from tslrec_min.cli.formats import formatted
from tslrec_min.cli.options import usable_processors
from tslrec_min.errors import TslrecError
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.pipeline.run import run

CONFIGURATIONS = Path(__file__).parent / "study"


def main() -> None:
    """Run the configurations, and write what is kept of each as JSON, and its tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(str(path.relative_to(CONFIGURATIONS).with_suffix("")) for path in CONFIGURATIONS.glob("*/*.toml"))
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--data-folder", type=Path, required=True, help="has the folders of data")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="configurations to run")
    parser.add_argument("--results", type=Path, help="where FOLDER-NAME.json and .md go; not set: OUT")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time; they share the threads")
    parser.add_argument("--threads", type=int, default=usable_processors())
    options = parser.parse_args()
    results = options.results or options.out
    results.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        config = replace(load_run_config(CONFIGURATIONS / f"{name}.toml"), serving=False)
        started = time.perf_counter()
        try:
            found = run(config, (options.out / name).parent, data=options.data_folder / config.source,
                        threads=options.threads, jobs=options.jobs)
        except TslrecError as error:
            raise SystemExit(f"{name}: {error}") from None
        click.echo(f"{name}: {time.perf_counter() - started:.0f} s now, "
                   f"{sum(stage['wall_seconds'] for stage in found['stages']):.0f} s in all stages")
        tables = formatted(found["evaluation"], "markdown")
        target = results / name.replace("/", "-")
        source = {"command": f"python benchmarks/study.py {shlex.join(sys.argv[1:])}", "machine": cpu_name(),
                  "date": datetime.now(UTC).date().isoformat(), "version": tslrec_min.__version__}
        target.with_suffix(".json").write_text(text(small(found, source)), encoding="utf-8")
        target.with_suffix(".md").write_text(tables + "\n", encoding="utf-8")
        click.echo(tables)


if __name__ == "__main__":
    main()
