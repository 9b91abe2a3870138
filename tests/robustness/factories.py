"""What several test files build or ask alike."""

from __future__ import annotations

import os
import subprocess
import sys

from ..factories import ROOT

PROGRAMS = ROOT / "tests" / "robustness"


def run(*words: object) -> str:
    """Run a program of robustness/, whose own folder has to be on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run([sys.executable, *map(str, words)], env=environment, capture_output=True, text=True,
                          check=False)
    assert done.stdout, done.stderr
    return done.stdout
