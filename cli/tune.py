"""``tslrec tune``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..configs import TuneConfig
from ..runtime.progress import note
from ..storage.artifacts import read_json
from ..storage.existing import Existing
from .options import (
    DATASET,
    VECTORS_PATH,
    check_vector_file_options,
    config_options,
    out_option,
    stage_options,
    start_torch,
    vector_file_options,
)
from .tables import table


@click.command()
@click.argument("dataset", type=DATASET)
@out_option("Folder of the trials and the best configuration.")
@click.option("--embeddings", type=VECTORS_PATH, help="Item embeddings, as for tslrec train.")
@vector_file_options
@config_options(TuneConfig, without=("refit",))
@stage_options
def tune(dataset: Path, out: Path, embeddings: Path | None, embedding_ids: Path | None, ignore_unknown: bool,
         config: TuneConfig, device: str, threads: int, existing: Existing, as_json: bool) -> None:
    """Search for the hyper-parameters of tslrec train with the best validation NDCG@10.

    Random configurations are compared by successive halving: all are trained for --budget epochs, the better half goes
    on to twice as many, and so on. The options are those of tslrec train: they are the first configuration, and what
    --vary leaves out stays as it is given. Test targets are not looked at. To resume an interrupted search, run the
    same command again.

    The folder has trials.json, with all figures, and best.toml, for tslrec run. The command that trains the best
    configuration is printed at the end. Its validation figures are the best of many, so they are too good: quote those
    of tslrec evaluate.

    \b
    Examples:
        tslrec tune dataset -o tuned
        tslrec tune dataset --embeddings embed --adapter init --vary learning_rate,dropout,table_decay -o tuned
        tslrec tune dataset --model gru4rec --trials 8 --budget 10 -o tuned
    """
    check_vector_file_options(embeddings, embedding_ids, ignore_unknown)
    torch_device = start_torch(device, threads)
    from ..recommenders.tune import tune as search

    search(dataset, out, config, embeddings_path=embeddings, embedding_ids=embedding_ids,
           ignore_unknown=ignore_unknown, device=torch_device, threads=threads, existing=existing)
    result = read_json(out / "trials.json")
    click.echo(json.dumps(result) if as_json else _text(result))
    vectors = [*(["--embeddings", str(embeddings)] if embeddings else []),
               *(["--embedding-ids", str(embedding_ids)] if embedding_ids else []),
               *(["--ignore-unknown-items"] if ignore_unknown else [])]
    command = ["tslrec", "train", str(dataset), *vectors, *_flags(result["best"]["settings"]), "-o", f"{out}-train"]
    note(f"\nTrain the best configuration, trial {result['best']['trial']}:\n    {shlex.join(command)}")


def _text(result: Mapping[str, Any]) -> str:
    """Return the trials as a table, best first, those that failed last."""
    names = list(result["space"])
    rows = []
    for trial in sorted(result["trials"], key=_place):
        last, cells = trial["rungs"][-1], ["-", "failed", "-", "-"]
        if "error" not in last:
            seconds = sum(rung["seconds"] for rung in trial["rungs"])
            cells = [str(last["epochs"]), *(f"{last[f'validation_{name}@10']:.4f}" for name in ("ndcg", "hr")),
                     f"{seconds:.1f}"]
        rows.append([str(trial["trial"]), *cells, *(str(trial["config"][name]) for name in names)])
    return "\n".join([f"{len(rows)} trials, best first; validation figures, seen items left out; trial 0 is the "
                      "configuration given", table(["trial", "epochs", "NDCG@10", "HR@10", "seconds", *names], rows)])


def _place(trial: Mapping[str, Any]) -> float:
    return -float(trial["rungs"][-1].get("validation_ndcg@10", -1))


def _flags(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as options of the command line."""
    words = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words
