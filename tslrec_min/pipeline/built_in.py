"""The configurations that come with the package, and which one fits given interactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ..configs import PrepareConfig
from ..runtime.progress import note
from ..storage.artifacts import read_json
from ..storage.atomic import sole_run
from .config import RunConfig, load_run_config
from .run import find_raw, make_dataset

QUICKSTART, SPARSE, DENSE = "quickstart", "sparse", "dense"
_LONG_HISTORY = 50
"""Training items of a user on average above which a catalogue's items are known well: networks need less dropout."""


def built_in(name: str) -> RunConfig:
    """Return the configuration ``NAME.toml`` beside this module."""
    with as_file(files("tslrec_min") / "pipeline" / f"{name}.toml") as path:
        return load_run_config(path)


def fitting(statistics: Mapping[str, Any]) -> str:
    """Return the name of the configuration for a data set with these statistics, the contents of dataset.json."""
    return DENSE if statistics["mean_length"] - 2 > _LONG_HISTORY else SPARSE


def config_for(data: Path, items: Path | None, prepare: PrepareConfig, out: Path) -> RunConfig:
    """Prepare interactions as the first stage of a run, and return the built-in configuration that fits them.

    Args:
        data: file or folder of interactions, or the name of a built-in data set.
        items: file with titles; None: the one beside the interactions.
        prepare: how they are prepared.
        out: folder of the run.

    Raises:
        TslrecError: see `find_raw` and `tslrec_min.data.prepare.prepare`, or another run is using `out`.
    """
    first = built_in(SPARSE)
    raw = find_raw(replace(first, stages={**first.stages, "prepare": prepare}), data, items)
    with sole_run(out):
        make_dataset(raw, out / "dataset", prepare)
    statistics = read_json(out / "dataset" / "dataset.json")
    name = fitting(statistics)
    note(f"the built-in configuration {name}.toml, for {statistics['mean_length']:.0f} items a user on average")
    config = built_in(name)
    return replace(config, stages={**config.stages, "prepare": prepare})
