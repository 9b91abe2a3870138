from __future__ import annotations

from pathlib import Path

import pytest

from ...factories import tslrec
from ..factories import parsed

pytest.importorskip("matplotlib")


@pytest.mark.parametrize(("split", "text"), [("leave-one-out", "Leave-one-out: "), ("temporal", "Temporal split: ")])
def test_the_split_is_described(tmp_path: Path, split: str, text: str) -> None:
    rows = [f"u{user},i{(user + step) % 6},{step}" for user in range(8) for step in range(10)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title", *(f"i{item},t{item}" for item in range(6))]) + "\n")
    words = ("prepare", tmp_path / "log.csv", "--items", tmp_path / "items.csv", "--k-core", 0, "--split", split)
    assert tslrec(*words, "-o", tmp_path / "dataset").exit_code == 0
    assert tslrec("report", tmp_path / "dataset", "-o", tmp_path / "r.html").exit_code == 0
    texts = list(parsed((tmp_path / "r.html").read_text(encoding="utf-8")).itertext())
    assert any(line.startswith(text) for line in texts)
    assert texts[texts.index("users with a test target") + 1] == "8"
