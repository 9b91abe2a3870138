"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..tiny_llm import make_tiny_llm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_llm(tmp_path / "tiny")
