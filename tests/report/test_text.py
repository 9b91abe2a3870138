from __future__ import annotations

import pytest

from tslrec_min.report.statistics import smoothed
from tslrec_min.report.text import setting, short

pytest.importorskip("matplotlib")


def test_small_helpers() -> None:
    assert (short(0.1082), short(-0.0017), short(1.0)) == (".1082", "−.0017", "1.0000")
    assert (setting("/home/me/models/llm"), setting("smollm2-135m"), setting("\n- "), setting("")) == (
        "…/llm", "smollm2-135m", "'\\n- '", "''")
    assert [setting(path) for path in ("../mine/llm.gguf", "./a/b", r"\\server\share\x", "owner/name", "..")] == [
        "…/llm.gguf", "…/b", "…/x", "owner/name", ".."]
    assert smoothed([4.0, 2.0, 0.0], 2).tolist() == [4.0, 3.0, 1.0]
