from __future__ import annotations

import re
import time

import pytest

from tslrec_min.runtime import progress_lines
from tslrec_min.runtime.progress import progress, set_verbosity


@pytest.mark.parametrize("level", ["quiet", "normal"])
def test_without_a_terminal_long_tasks_write_lines_unless_quiet(
        level: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_lines, "SECONDS", 0.01)
    set_verbosity(level)
    try:
        with progress(2, "", "stage") as outer, progress(4, "train", "epoch", initial=1, leave=False) as bar:
            bar.update()
            bar.set_postfix(loss="1.5")
            time.sleep(0.3)
            outer.set_description("x")
        said = capsys.readouterr().err
        time.sleep(0.1)
        assert capsys.readouterr().err == ""  # no line after the end
    finally:
        set_verbosity("normal")
    lines = said.splitlines()
    assert (len(lines) >= 2) == (level == "normal")
    if lines:
        assert re.fullmatch(r"0 of 2 stages, 0:00 so far; train: 2 of 4 epochs, 0:00 so far, about 0:0[01] left "
                            r"\(loss 1\.5\)", lines[-1])
