from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path

import pytest

import tslrec_min
from tslrec_min.configs import ProbeConfig
from tslrec_min.errors import TslrecError

from ..factories import tslrec


def test_sets_can_be_given_by_name_or_as_on_the_command_line(cold: Path, trained: Path) -> None:
    path = trained / "embed"
    ways = [{"embed": path, "again": path}, [path, f"again={path}"]]
    made = [tslrec_min.probe(cold, sets, threads=1, resamples=50) for sets in ways]
    assert made[0].metrics == made[1].metrics and made[0].path is None
    assert [row["name"] for row in made[0].rows] == ["transitions", "embed", "again", "transitions + embed",
                                                     "transitions + again"]
    shown = tslrec("probe", cold, path, f"again={path}", "--threads", 1, "--resamples", 50, "--json")
    assert json.loads(shown.stdout) == made[0].metrics
    assert [row["name"] for row in tslrec_min.probe(cold, path, threads=1).rows][1] == "embed"


def test_what_is_no_set_is_said(cold: Path, trained: Path) -> None:
    for sets in ([], {}):
        with pytest.raises(TslrecError, match="there are no item embeddings to probe"):
            tslrec_min.probe(cold, sets, threads=1)
    with pytest.raises(TslrecError, match="two sets of item embeddings are called 'embed'; give them names: NAME="):
        tslrec_min.probe(cold, [trained / "embed"] * 2, threads=1)
    with pytest.raises(TslrecError, match="probe: vectors: 'auto' is not one of"):
        tslrec_min.probe(cold, trained / "embed", vectors="auto")


def test_signature_and_help_name_every_option() -> None:
    parameters = inspect.signature(tslrec_min.probe).parameters
    for field in dataclasses.fields(ProbeConfig):
        assert parameters[field.name].default == field.default
        assert f"    {field.name}: {field.metadata['help']}" in str(tslrec_min.probe.__doc__)
