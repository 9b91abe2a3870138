"""Fixtures that the test files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.prepare import prepare

from ..factories import write_cycle


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    prepare(write_cycle(folder / "raw"), folder / "dataset", PrepareConfig())
    return folder
