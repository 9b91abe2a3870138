"""Fixtures that the test files of this folder share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ..factories import tslrec

SCRIPT = "<script>alert('title')</script> & \"co\""
BASELINE, OTHER, TUNED = "ids <b>only</b>", "un$tuned_{x}$ & co", "tslrec \u4e03\u4eba"
RUN = """
source = "RAW"
seeds = [0, 1]
[prepare]
k_core = 0
cold_items = 0.2
[pretrain]
categories = 4
width = 8
blocks = 1
max_len = 8
batch_size = 32
epochs = 2
[finetune]
model = "LLM"
max_history = 6
parity_prompts = 8
users = 16
epochs = 2
[train]
width = 8
blocks = 1
max_len = 8
batch_size = 32
epochs = 2
[[arms]]
name = 'BASELINE'
[[arms]]
name = 'OTHER'
embeddings = "untuned"
adapter = "linear"
[[arms]]
name = 'TUNED'
embeddings = "tuned"
adapter = "init"
"""


def make_run(folder: Path, raw: Path, llm: Path) -> Path:
    from tslrec_min.pipeline.config import load_run_config
    from tslrec_min.pipeline.run import run

    shutil.copytree(raw, folder / "raw")
    titles = folder / "raw" / "items.tsv"
    lines = titles.read_text(encoding="utf-8").replace("Toy Story 1\n", f"{SCRIPT}\n")
    titles.write_text(lines, encoding="utf-8")
    assert SCRIPT in lines
    config = RUN
    values = {"RAW": folder / "raw", "LLM": llm, "BASELINE": BASELINE, "OTHER": OTHER, "TUNED": TUNED}
    for name, value in values.items():
        config = config.replace(name, str(value))
    (folder / "run.toml").write_text(config, encoding="utf-8")
    run(load_run_config(folder / "run.toml"), folder / "whole")
    return folder / "whole"


@pytest.fixture(scope="session")
def whole(cycle_raw: Path, llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with cold items, whose titles and arms try to be markup."""
    return make_run(tmp_path_factory.mktemp("report"), cycle_raw, llm)


@pytest.fixture(scope="session")
def page(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    result = tslrec("report", whole, "-o", out)
    assert result.exit_code == 0 and "1 run, " in result.stdout and not result.stderr
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def sums_page(summed: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page on a run without a language model, whose arms are sums and recommenders of all kinds."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    result = tslrec("report", summed / "out", "-o", out)
    assert result.exit_code == 0 and not result.stderr, result.output  # nothing is lacking
    return out.read_text(encoding="utf-8")
