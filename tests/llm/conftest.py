"""Fixtures that the test files of this folder share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tslrec_min.llm.model import LanguageModel, load_language_model


@pytest.fixture(scope="session")
def tiny(llm: Path) -> LanguageModel:
    return load_language_model(llm)


@pytest.fixture
def folder(llm: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder, to be damaged."""
    return Path(shutil.copytree(llm, tmp_path / "tiny"))
