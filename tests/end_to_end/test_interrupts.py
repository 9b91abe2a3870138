"""Ctrl-C from the first line of the entry module to the end of the process: quiet, with exit status 130."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

INTERRUPTED_WHEN = """
import atexit, os, runpy, signal, sys
import tslrec_min.cli

signal.signal(signal.SIGINT, signal.{handler})
when = sys.argv.pop(1)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == when:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
if when == "exit":
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
runpy.run_module("tslrec_min.cli", run_name="__main__", alter_sys=True)
"""
"""A program that runs tslrec and gets SIGINT when it imports the module of its first argument, or at its exit."""
LATER_CODE = re.compile(r'File ".*/(cli/(?!__init__)|click/|numpy/|torch/)')
"""In a traceback: a file that is run after the first line of the entry module."""


def interrupted(when: str, *words: object, handler: str = "default_int_handler") -> subprocess.CompletedProcess[str]:
    program = INTERRUPTED_WHEN.format(handler=handler)
    return subprocess.run([sys.executable, "-c", program, when, *map(str, words)], capture_output=True, text=True)


def training(dataset: Path, out: Path, epochs: int = 100_000) -> list[str]:
    return ["train", str(dataset), "-o", str(out), "--epochs", str(epochs), "--patience", str(epochs), "--width", "8",
            "--threads", "1"]


@pytest.mark.parametrize("module", ["tslrec_min.cli.group", "click", "tslrec_min.configs", "importlib.metadata",
                                    "numpy", "numpy.exceptions", "torch", "tslrec_min.recommenders.train"])
def test_while_modules_are_imported(cycle: Path, tmp_path: Path, module: str) -> None:
    done = interrupted(module, *training(cycle, tmp_path / "out", epochs=1))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_while_python_ends(cycle: Path, tmp_path: Path) -> None:
    done = interrupted("exit", *training(cycle, tmp_path / "out", epochs=1), "--json")
    assert done.returncode == 130 and done.stdout.endswith("}\n") and "Traceback" not in done.stderr


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    done = interrupted("click", "--version", handler="SIG_IGN")
    assert done.returncode == 0 and done.stdout.startswith("tslrec, version")


def test_at_any_time(cycle: Path, tmp_path: Path) -> None:
    quiet = 0
    for number in range(20):
        command = [sys.executable, "-m", "tslrec_min.cli", *training(cycle, tmp_path / str(number))]
        process = subprocess.Popen(  # a shell's background jobs ignore SIGINT, and so would this one
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        time.sleep(1.5 * number / 19)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode == 130:
            quiet += 1
            assert out == "" and re.fullmatch(r"(Interrupted: .*\n)?", err), err
        else:  # it came before the first line of the entry module
            assert not LATER_CODE.search(err), err
    assert quiet
