"""--quiet and --verbose, the variables of options, exit codes, shell completion: what holds for every command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..factories import tslrec


def test_what_is_said_are_records_of_a_logger(tmp_path: Path) -> None:
    """A program that sets up logging gets them at its levels; one that doesn't sees notes; nothing is said twice."""
    program = "from tslrec_min.runtime.progress import note, step, warn; note('n'); step('s'); warn('w')"
    for before, expected in (("", "n\nw\n"), ("logging.basicConfig()", "WARNING:tslrec_min:w\n"),
                             ("logging.basicConfig(level=10)", "INFO:tslrec_min:n\nDEBUG:tslrec_min:s\n"
                                                               "WARNING:tslrec_min:w\n")):
        done = subprocess.run([sys.executable, "-c", f"import logging\n{before}\n{program}"], cwd=tmp_path, check=True,
                              capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("", expected)


@pytest.mark.parametrize("words", [("prepare", "-v"), ("--verbose", "prepare")])
def test_verbose_says_steps_on_standard_error_alone(words: tuple[str, ...], cycle_raw: Path, tmp_path: Path) -> None:
    result = tslrec(*words, cycle_raw, "-o", tmp_path / "dataset", "--json")
    assert result.exit_code == 0 and result.stdout.startswith("{") and len(result.stdout.splitlines()) == 1
    lines = result.stderr.splitlines()
    assert len(lines) >= 4 and all(re.match(r"\[ *\d+\.\d s\] ", line) for line in lines)
    assert lines[-1].endswith("done") and str(tmp_path / "dataset") in lines[-2]


def test_quiet_and_verbose_at_once_are_refused(cycle_raw: Path, tmp_path: Path) -> None:
    result = tslrec("prepare", cycle_raw, "-o", tmp_path / "a", "-q", "-v")
    assert result.exit_code == 2 and "either --quiet or --verbose" in result.stderr
    assert tslrec("prepare", cycle_raw, "-o", tmp_path / "a", "-v", TSLREC_QUIET="1").stderr  # the nearer one wins


def completed(words: str, tmp_path: Path) -> list[str]:
    variables = {"_TSLREC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([sys.executable, "-m", "tslrec_min.cli"], env=os.environ | variables, cwd=tmp_path,
                          check=True, capture_output=True, text=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_shell_completion(tmp_path: Path) -> None:
    assert completed("tslrec ev", tmp_path) == ["evaluate"]
    assert completed("tslrec gguf q", tmp_path) == ["quantize"]
    assert completed("tslrec train --mask-p", tmp_path) == ["--mask-probability"]
    assert completed("tslrec train --model g", tmp_path) == ["gru4rec"]
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run([sys.executable, "-m", "tslrec_min.cli"], cwd=tmp_path, capture_output=True, text=True,
                              env=os.environ | {"_TSLREC_COMPLETE": f"{shell}_source"})
        assert "tslrec" in done.stdout, done.stderr
