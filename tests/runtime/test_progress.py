from __future__ import annotations

import logging
import re
import sys

import pytest

from tslrec_min.runtime.progress import note, progress, set_verbosity, step, verbosity


def test_levels(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = {}
    for level in ("quiet", "normal", "verbose"):
        set_verbosity(level)
        note("a note")
        step("a step")
        said[level] = capsys.readouterr()
    assert verbosity() == "verbose" and not any(of.out for of in said.values())
    assert said["quiet"].err == "" and said["normal"].err == "a note\n"
    assert re.fullmatch(r"a note\n\[ +0\.0 s\] a step\n", said["verbose"].err)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    note("a note of the second process")
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="expected one of quiet, normal, verbose"):
        set_verbosity("loud")


def test_a_root_handler_does_not_print_a_message_again(capsys: pytest.CaptureFixture[str]) -> None:
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stderr)
    root.addHandler(handler)
    try:
        set_verbosity("normal")
        note("once")
    finally:
        root.removeHandler(handler)
    assert capsys.readouterr().err == "once\n"


class Terminal:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("level", "shown"), [("quiet", False), ("normal", True), ("verbose", True)])
def test_bars_are_shown_on_a_terminal_unless_quiet(level: str, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    set_verbosity(level)
    with progress(2, "train", "epoch") as bar:
        bar.update()
    assert ("train" in terminal.text) == shown
    with progress(2, "hidden", "epoch", shown=False):
        assert "hidden" not in terminal.text


def test_without_a_terminal_short_tasks_write_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    set_verbosity("normal")
    with progress(2, "train", "epoch") as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""
