"""What is shipped, and that what the documentation tells people to type exists."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest

from tslrec_min.cli import main
from tslrec_min.pipeline.config import Arm, load_run_config

from .docs._pages import PAGES, commands_in
from .factories import ROOT

SHIPPED = {"tslrec_min": "tslrec_min", "cli": "tslrec_min/cli"}
SCRIPTS = [*(path for path in sorted((ROOT / "benchmarks").glob("*.py")) if not path.name.startswith(("_", "recbole"))),
           *(ROOT / "tests" / "robustness" / f"{name}.py" for name in ("fault_injection", "fuzzing"))]


def help_texts(command: click.Command) -> list[str]:
    found = [command.help or ""]
    for child in getattr(command, "commands", {}).values():
        found += help_texts(child)
    return found


@pytest.mark.parametrize("line", [line for text in [*(page.read_text() for page in PAGES), *help_texts(main)]
                                  for line in commands_in(text)])
def test_documented_commands_parse(line: str, any_paths: None) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words, parent=context)


def test_readme_has_two_single_line_commands() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("quickstart", "tests"):
        block = re.search(rf"<!-- {name} -->\n```bash\n(.*?)\n```", text, re.DOTALL)
        assert block and "\n" not in block[1] and block[1].startswith("python3 -m venv .venv && ")


@pytest.mark.parametrize(("tests", "quickstart", "status", "said"), [
    ("touch made", "cat table && test ! -e made", 0, ""), ("false", "cat table", 1, ""),
    ("true", "cat table && false", 1, ""), ("true", "head -4 table", 1, "has 1 of 4 rows of its table"),
])
def test_continuous_integration_runs_both_and_wants_the_table(tmp_path: Path, tests: str, quickstart: str, status: int,
                                                              said: str) -> None:
    arms = load_run_config(ROOT / "tslrec_min" / "pipeline" / "quickstart.toml").arms
    rows = "".join(f"{arm.name:25} .1301±.0037\n" for arm in arms)
    (tmp_path / "table").write_text(f"test: 9 users, full ranking, seen items left out; split 0\nHR@10\n{rows}\n"
                                    "lift over it\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("".join(f"<!-- {name} -->\n```bash\n{command}\n```\n" for name, command in (
        ("quickstart", quickstart), ("tests", tests))))
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True)
    assert done.returncode == status and said in done.stderr, done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_benchmarks_start(script: Path) -> None:
    command = [sys.executable, "-P", script, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": str(script.parent)})
    assert done.returncode == 0 and "--help" in done.stdout, done.stderr


def test_configurations_of_a_study_share_the_stages_before_training() -> None:
    folders = [path for path in sorted((ROOT / "benchmarks" / "study").iterdir()) if path.is_dir()]
    assert folders
    for folder in folders:
        configs = [load_run_config(path) for path in sorted(folder.glob("*.toml"))]
        shared = [[config.source, *(config.stages[name] for name in ("prepare", "pretrain", "finetune", "embed"))]
                  for config in configs]
        assert all(stages == shared[0] for stages in shared), folder  # else each would make those of another anew
        arms: dict[str, Arm] = {}
        for config in configs:
            for arm in config.arms:
                assert arms.setdefault(arm.folder, arm) == arm, folder  # what two have in common is trained once


def test_kernels_have_no_directives_of_their_own() -> None:
    """A directive in a file would override the bounds-checked build."""
    for source in (ROOT / "csrc").glob("*.p*"):
        assert not re.search(r"#\s*cython\s*:|@cython\.(boundscheck|wraparound|cdivision)", source.read_text()), source


def test_installed_files_are_the_source_files() -> None:
    package = distribution("tslrec-min")
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("an editable install lists no files")
    installed = {str(file) for file in package.files or [] if str(file).startswith("tslrec_min/")}
    installed = {file for file in installed if "__pycache__" not in file and not file.endswith(".so")}
    expected = {f"{place}/{file.relative_to(ROOT / folder).as_posix()}" for folder, place in SHIPPED.items()
                for file in (ROOT / folder).rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    assert installed == expected
    assert {"tslrec_min/py.typed", "tslrec_min/pipeline/quickstart.toml", "tslrec_min/cli/__main__.py"} <= installed
