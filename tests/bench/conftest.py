"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .factories import bench


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the tiny suite."""
    out = tmp_path_factory.mktemp("bench") / "report.json"
    result = bench("-o", out)
    assert result.exit_code == 0, result.output
    assert "kernel_ranking_time" in result.stdout and "sasrec_ndcg@10" in result.stdout
    return out
