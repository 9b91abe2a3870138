"""Fixtures that several test files share: small data sets with a known answer, and the real public data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.cli import options
from tslrec_min.configs import PrepareConfig
from tslrec_min.data.prepare import prepare
from tslrec_min.runtime.progress import set_verbosity

os.environ["PYTHONSAFEPATH"] = "1"  # subprocesses import the package that is installed, not the tree they start in

N_ITEMS = 24
TITLES = ("Star Wars", "Toy Story", "Amélie", "七人の侍", "The Good, the Bad & the Ugly", "Heat", "Alien", "Fargo")


def write_cycle(folder: Path, n_users: int = 60, length: int = 14, seed: int = 0) -> Path:
    """Write histories in which item i is always followed by item i + 1 (mod N): the next item is known."""
    random = np.random.default_rng(seed)
    lines = []
    for user in range(n_users):
        start = random.integers(N_ITEMS)
        lines.append(" ".join([f"u{user}", *(f"i{(start + step) % N_ITEMS}" for step in range(length))]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sequences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"i{item}\t{TITLES[item % len(TITLES)]} {item}" for item in range(N_ITEMS)]
    (folder / "items.tsv").write_text("item_id\ttitle\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def cycle_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the raw cycle data."""
    return write_cycle(tmp_path_factory.mktemp("cycle"))


@pytest.fixture(scope="session")
def cycle(cycle_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set artifact of the cycle data."""
    out = tmp_path_factory.mktemp("artifacts") / "dataset"
    prepare(cycle_raw, out, PrepareConfig(k_core=2))
    return out


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random llama model that reads prompts of several titles."""
    from .tiny_llm import make_tiny_llm  # torch and transformers

    return make_tiny_llm(tmp_path_factory.mktemp("llm"), max_position_embeddings=1024)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of ml-100k/, ml-1m/ and amazon-beauty/, which are not part of the project."""
    folder = Path(os.environ.get("TSLREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name their folder in TSLREC_TEST_DATA")
    return folder


@pytest.fixture
def any_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands parse whose files and folders other commands would have written."""
    for check in ("expect_artifact", "expect_path"):
        monkeypatch.setattr(options, check, lambda *_: None)


@pytest.fixture(autouse=True)
def notes_on_standard_error() -> None:
    """Say what is said where nobody sets up logging: pytest does."""
    set_verbosity("normal")
