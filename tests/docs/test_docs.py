"""The documentation: the page of the commands is fresh, the tutorial runs, links lead somewhere, lines are short."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tslrec_min.cli import main
from tslrec_min.cli.every_command import every_command
from tslrec_min.pipeline.serving import SERVING

from ..factories import ROOT
from ._pages import PAGES, anchors, blocks

TUTORIAL = ROOT / "docs" / "tutorial.md"
TINY = {  # settings that make every stage of the tutorial take a second
    "TSLREC_PREPARE_K_CORE": "2", "TSLREC_PRETRAIN_CATEGORIES": "4", "TSLREC_FINETUNE_USERS": "12",
    "TSLREC_FINETUNE_MAX_HISTORY": "4", "TSLREC_FINETUNE_PARITY_PROMPTS": "8", "TSLREC_EVALUATE_RESAMPLES": "100",
    **{f"TSLREC_{stage}_{option}": value for stage in ("PRETRAIN", "TRAIN")
       for option, value in (("EPOCHS", "2"), ("WIDTH", "8"), ("BLOCKS", "1"))},
    **{f"TSLREC_{stage}_THREADS": "1" for stage in ("PRETRAIN", "FINETUNE", "EMBED", "TRAIN", "EVALUATE")}}


def test_the_page_of_the_command_line_is_what_the_help_says() -> None:
    pinned = re.search(r"^click==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if pinned and version("click") != pinned[1]:
        pytest.skip(f"click {version('click')} may lay the help out otherwise than {pinned[1]}")
    done = subprocess.run([sys.executable, "-P", ROOT / "docs" / "generate_cli.py", "--check"], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_command_line_names_every_command_and_option() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for path, command in every_command(main, ("tslrec",)):
        if len(path) > 1:
            section = text.split(f"## {' '.join(path)}\n", 1)[1].split("\n## ", 1)[0]
            for option in command.params:
                if isinstance(option, click.Option) and option.expose_value:
                    assert option.help and option.opts[0] in section, (path, option.opts)


def write_loans(folder: Path) -> None:
    """Write the tutorial's files: ids that are texts, titles in several scripts, dates."""
    random = np.random.default_rng(0)
    titles = ("Pippi Långstrump", "銀河鉄道の夜", '"Alice, through the Looking-Glass"', "Война и мир", "Ronja, 'röd'")
    readers = ["Åsa", "r-2", *(f"r-{number}" for number in range(10, 40))]
    loans = [f"{reader},bk-{(random.integers(3) + start + day) % 15:03},2024-03-{day + 1:02}"
             for reader in readers for start in [random.integers(15)] for day in range(9)]
    loans.append("r-99,bk-000,2024-03-01")  # left out by the k-core
    books = [f"bk-{book:03}," + (title if title.startswith('"') else f'"{title} {book}"')
             for book in range(15) for title in [titles[book % len(titles)]]]
    (folder / "loans.csv").write_text("reader,book,day\n" + "\n".join(loans) + "\n", encoding="utf-8")
    (folder / "books.csv").write_text("book,name\n" + "\n".join(books) + "\n", encoding="utf-8")
    (folder / "users.txt").write_text("Åsa\nr-2\n", encoding="utf-8")


def test_the_commands_of_the_tutorial_run(llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_loans(tmp_path)
    monkeypatch.chdir(tmp_path)
    outputs = {}
    for block in blocks(TUTORIAL):
        line, = block.lines  # one command a block
        if block.holds:
            result = CliRunner().invoke(main, shlex.split(line)[1:], env=TINY | {"TSLREC_FINETUNE_MODEL": str(llm)})
            assert result.exit_code == 0, (line, result.output)
            outputs[line.split(maxsplit=1)[1]] = result.stdout
    said = "".join(outputs.values())
    for phrase in ("items without title", "left out: 2-core", "split hash", "best epoch", "held-out users",
                   "titles cut", "constant predictor", "hidden states of .* real prompts", "mean cosine of two items",
                   "lift over sasrec"):
        assert re.search(phrase, said), f"the tutorial explains {phrase!r}, which no command prints"
    recommended = [found for line, found in outputs.items() if line.startswith("recommend")]
    for row in map(json.loads, "".join(recommended).splitlines()):
        assert row["user"] in ("Åsa", "r-2")


def test_the_readme_goes_from_own_files_to_recommendations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## With your own data")[1].split("\n## ")[0]
    whole, ids = (block.splitlines() for block in re.findall(r"```bash\n(.*?)\n```", text, re.DOTALL))
    write_loans(tmp_path)
    monkeypatch.chdir(tmp_path)
    for line in ids:
        result = CliRunner().invoke(main, shlex.split(line)[1:], env=TINY)
        assert result.exit_code == 0, (line, result.output)
    assert (tmp_path / "quick.csv").read_text(encoding="utf-8").count("\n") > 100
    python, = re.findall(r"```python\n(.*?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(python.replace('"sasrec"', '"another"'), names)
    assert {row["user"] for row in names["rows"]} == {"Åsa"}
    assert len(whole) == 2 and whole[0].split("books.csv")[1] == ids[0].split("books.csv")[1].replace(" -o dataset", "")
    folders = shlex.split(whole[1])[2:4]  # as run names them by its own configuration
    assert folders == ["runs/loans/dataset", f"runs/loans/{SERVING}"]


def test_the_tutorial_needs_few_commands() -> None:
    parts = re.split(r"^## ", TUTORIAL.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    counts = [part.count("```bash") for part in parts]
    assert counts == [4, 5, 0]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if target.startswith("http"):
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_lines_of_prose_are_short(page: Path) -> None:
    if page.name == "cli.md":
        return  # generated
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"<!-- table: .*?<!-- end -->", "", text, flags=re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long, f"{page.name}: {long[0]}"


def test_the_picture_of_the_imports_is_current() -> None:
    done = subprocess.run([sys.executable, "-P", ROOT / "docs" / "generate_architecture.py", "--check"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_architecture_names_every_folder_and_files_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    described = re.split(r", ", ", ".join(re.findall(r"^\*\*([\w, ]+)\.\*\*", text, re.MULTILINE)))
    rule = re.search(r"^> errors.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert rule and described == [*re.findall(r"\w+", rule[0]), "csrc"]
    folders = {path.name for path in (ROOT / "tslrec_min").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders | {"cli", "csrc", "errors", "config_fields", "configs"} == set(described)
    for paragraph in re.findall(r"^\*\*([\w, ]+)\.\*\*(.*?)\n\n", text, re.MULTILINE | re.DOTALL):
        own = [ROOT / "tslrec_min" / paragraph[0], ROOT / "tslrec_min", ROOT / paragraph[0], ROOT]
        for name in re.findall(r"`([\w/]+(?:\.py|\.toml|\.build|/))`", paragraph[1]):
            assert any((folder / name).exists() for folder in own), f"{paragraph[0]}: {name}"


def test_the_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name
