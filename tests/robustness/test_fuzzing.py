"""Damaged files of every kind are refused by a TslrecError or read rightly: robustness/fuzzing.py on few cases."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .factories import PROGRAMS, run

CASES = int(os.environ.get("TSLREC_FUZZING_CASES", "8"))
"""For each reader; 300 take about an hour."""
BAD_READERS = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, sys.argv[1])
import fuzzing
from tslrec_min.errors import TslrecError

fuzzing.SECONDS, fuzzing.MEMORY_MIB = 1, 100

def reads_wrongly(data):
    return data == sound

def raises(data):
    return data if data == sound else [][1]

def ends(data):
    return data if data == sound else os.abort()

def hangs(data):
    while data != sound:
        pass

def takes_memory(data):
    return data == sound or len(b"x" * (200 << 20)) > 0

def says_nothing(data):
    if data != sound:
        raise TslrecError("")

def is_careful(data):
    if data != sound:
        raise TslrecError("it is damaged")

home = Path(sys.argv[2])
home.mkdir()
sound = b"abcdefgh" * 8
(home / "file.txt").write_bytes(sound)
found = {}
for reader in (raises, ends, hangs, takes_memory, says_nothing, reads_wrongly, is_careful):
    subject = SimpleNamespace(name="n", files=("*",), guarded=True, only_bytes=False, forge=None,
                              read=lambda folder: reader((folder / "file.txt").read_bytes()))
    tally = fuzzing.run_apart(subject, home, 4, 0, home.parent / "case")
    found[reader.__name__] = sorted({defect["outcome"] for defect in tally.defects})
    assert tally.refused + tally.read + len(tally.defects) == 4, vars(tally)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def tallies() -> dict[str, Any]:
    return json.loads(run(PROGRAMS / "fuzzing.py", "--cases", CASES, "--seed", 1, "--json"))


def test_damaged_files_are_refused_or_read_rightly(tallies: dict[str, Any]) -> None:
    assert {name: tally["defects"] for name, tally in tallies.items() if tally["defects"]} == {}
    assert len(tallies) > 40 and all(tally["refused"] + tally["read"] == CASES for tally in tallies.values())


def test_checksums_refuse_nearly_all_damage(tallies: dict[str, Any]) -> None:
    refused = [tally["refused"] for name, tally in tallies.items() if name.startswith("artifact ")]
    assert len(refused) == 7 and sum(refused) > 0.9 * CASES * len(refused)


def test_the_harness_sees_every_kind_of_defect(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD_READERS)
    found = json.loads(run(tmp_path / "bad.py", PROGRAMS, tmp_path / "home"))
    assert found["raises"] == ["raised"] and found["says_nothing"] == ["no message"]
    assert found["ends"] == ["process ended"] and found["hangs"] == ["process ended"]
    assert found["takes_memory"] == ["memory"] and found["reads_wrongly"] == ["read wrongly"]
    assert found["is_careful"] == []
