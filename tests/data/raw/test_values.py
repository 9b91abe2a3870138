from __future__ import annotations

from pathlib import Path

from .factories import ROWS, packed, prepared


def test_milliseconds(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp\n" + "".join(f"{row[0]},{row[1]},{row[3]}500\n" for row in ROWS)
    file, titles = packed(tmp_path / "r.csv", text), packed(tmp_path / "t.csv", "item_id,title\na,A\nb,B\n")
    dataset = prepared(file, tmp_path / "d", items=titles, time_unit="ms", from_time="1400000020.5")
    assert dataset.timestamps is not None
    assert dataset.timestamps.tolist() == [1400000020.5, 1400000030.5, 1400000040.5]
