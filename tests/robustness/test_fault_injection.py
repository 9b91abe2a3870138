from __future__ import annotations

import json
import os

from .factories import PROGRAMS, run

KILLS = int(os.environ.get("TSLREC_KILLS", "4"))
"""Of each stage."""


def test_killed_stages_end_as_undisturbed_ones() -> None:
    tallies = json.loads(run(PROGRAMS / "fault_injection.py", "--kills", KILLS, "--faults", 1, "--json",
                             "--stages", "prepare,pretrain,embed"))
    assert {name: tally["failures"] for name, tally in tallies.items() if tally["failures"]} == {}
    for tally in tallies.values():
        assert tally["counts"].get("SIGKILL", 0) + tally["counts"].get("SIGINT", 0) >= KILLS
