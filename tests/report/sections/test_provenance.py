from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ...factories import tslrec

pytest.importorskip("matplotlib")


def test_failed_parity_is_shown(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "dataset", tmp_path / "run" / "dataset")
    evidence = (whole / "finetune" / "parity.json").read_text().replace('"passed": true', '"passed": false')
    (tmp_path / "run" / "finetune.parity.json").write_text(evidence)
    assert tslrec("report", tmp_path / "run", "-o", tmp_path / "r.html").exit_code == 0
    assert "The check failed." in (tmp_path / "r.html").read_text(encoding="utf-8")
