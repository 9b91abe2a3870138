from __future__ import annotations

import json
from pathlib import Path

from ..factories import tslrec


def test_prepare_prints_statistics(prepared: Path, tmp_path: Path) -> None:
    result = tslrec("prepare", prepared / "raw", "-o", tmp_path / "a")
    assert result.exit_code == 0 and "interactions" in result.output and "840" in result.output
    assert "left out" not in result.output
    (tmp_path / "r.csv").write_text("user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,a,1\nw,a,1\n")
    (tmp_path / "items.csv").write_text("item_id,name\na,Heat &amp; Dust\nb,B\n")
    result = tslrec("prepare", tmp_path / "r.csv", "--items", tmp_path / "items.csv", "--dry-run", "--k-core", 0)
    assert "HTML entities unescaped  1 items\nleft out: duplicates     1\nsplit hash" in result.output
    result = tslrec("prepare", prepared / "raw", "-o", tmp_path / "b", "--json")
    assert json.loads(result.stdout)["users"] == 60
