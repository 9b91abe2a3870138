from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ...factories import tslrec
from ..factories import parsed, tables

pytest.importorskip("matplotlib")


def test_failed_parity_is_shown(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "dataset", tmp_path / "run" / "dataset")
    evidence = (whole / "finetune" / "parity.json").read_text().replace('"passed": true', '"passed": false')
    (tmp_path / "run" / "finetune.parity.json").write_text(evidence)
    assert tslrec("report", tmp_path / "run", "-o", tmp_path / "r.html").exit_code == 0
    assert "The check failed." in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_all_artifacts_of_sums_are_listed(sums_page: str) -> None:
    root = parsed(sums_page)
    _, *rows = tables(root)["Stages"]
    assert [row[:2] for row in rows] == [
        ["dataset", "dataset"], ["embed-tfidf", "embed"], ["content-tfidf", "train, part of a sum"],
        ["transitions", "train, part of a sum"], ["1-popularity", "train"], ["2-titles", "train"],
        ["3-ids-0", "train"], ["3-ids-1", "train"], ["4-system-0", "train"], ["4-system-1", "train"],
        ["evaluate", "evaluate"], ["serving", "serving"], ["3-ids-0", "serving"], ["content-tfidf", "serving"],
        ["transitions", "serving"], ["all", ""]]
    settings = {details.find("summary").text: [code.text for code in details.iter("code")]  # type: ignore[union-attr]
                for details in root.iter("details")}
    assert "width" in settings["3-ids-1"] and "width" not in settings["1-popularity"]
    assert settings["4-system-1"][:3] == ["model", "parts", "refit"]
