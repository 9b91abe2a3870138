from __future__ import annotations

from pathlib import Path

from ..factories import tslrec


def test_commands_say_what_is_cold_and_where_it_stands(cycle_raw: Path, trained: Path, cold: Path, tmp_path: Path
                                                       ) -> None:
    result = tslrec("prepare", cycle_raw, "-o", tmp_path / "d", "--k-core", 0, "--cold-items", 0.2, "--cold-seed", 3)
    assert result.exit_code == 0 and "cold items                5, with 1" in result.output
    assert "left out" not in result.output and "HTML" not in result.output  # what is zero
    result = tslrec("evaluate", cold, trained / "none", trained / "linear", "--threads", 1)
    lines = result.output.split("cold start: ")[1].splitlines()
    cells = {line.split("  ")[0]: line.split()[-6:] for line in lines[3:7]}
    assert cells["none"] == ["-"] * 6 and set(cells) == {"none", "linear", "(popularity)", "(random order)"}
    assert "-" not in cells["linear"] and float(cells["(random order)"][-1]) == 1  # 5 cold items, HR@50
