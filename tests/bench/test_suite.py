from __future__ import annotations

from pathlib import Path

from tslrec_min.bench.gate import load_baseline

from .factories import check_schema


def test_a_report_has_its_schema(tiny: Path) -> None:
    check_schema(load_baseline(tiny))
