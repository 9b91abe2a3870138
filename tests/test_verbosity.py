"""--quiet and --verbose, the variables of options, exit codes, shell completion: what holds for every command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tslrec_min.cli import main
from tslrec_min.cli.every_command import every_command
from tslrec_min.runtime.progress import note, progress, set_verbosity, step, verbosity

COMMANDS = [(path, command) for path, command in every_command(main, ("tslrec",))
            if not isinstance(command, click.Group)]
OPTIONS = [pytest.param(path, command, option, id=f"{' '.join(path[1:])} {option.opts[-1]}")
           for path, command in COMMANDS for option in command.params
           if isinstance(option, click.Option) and option.envvar]


def tslrec(*words: object, **variables: str) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env=variables)


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


def test_what_is_said_are_records_of_a_logger(tmp_path: Path) -> None:
    """A program that sets up logging gets them at its levels; one that doesn't sees notes; nothing is said twice."""
    program = "from tslrec_min.runtime.progress import note, step, warn; note('n'); step('s'); warn('w')"
    for before, expected in (("", "n\nw\n"), ("logging.basicConfig()", "WARNING:tslrec_min:w\n"),
                             ("logging.basicConfig(level=10)", "INFO:tslrec_min:n\nDEBUG:tslrec_min:s\n"
                                                               "WARNING:tslrec_min:w\n")):
        done = subprocess.run([sys.executable, "-c", f"import logging\n{before}\n{program}"], cwd=tmp_path, check=True,
                              capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("", expected)


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


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, "train", "epoch") as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [("prepare", "-v"), ("--verbose", "prepare")])
def test_verbose_says_steps_on_standard_error_alone(words: tuple[str, ...], cycle_raw: Path, tmp_path: Path) -> None:
    result = tslrec(*words, cycle_raw, "-o", tmp_path / "dataset", "--json")
    assert result.exit_code == 0 and result.stdout.startswith("{") and len(result.stdout.splitlines()) == 1
    lines = result.stderr.splitlines()
    assert len(lines) >= 4 and all(re.match(r"\[ *\d+\.\d s\] ", line) for line in lines)
    assert lines[-1].endswith("done") and str(tmp_path / "dataset") in lines[-2]


def test_training_says_every_epoch(cycle: Path, tmp_path: Path) -> None:
    words = ("train", cycle, "--epochs", 2, "--width", 8, "--threads", 1)
    verbose = tslrec(*words, "-o", tmp_path / "a", "-v").stderr
    assert "epoch 1 of at most 2" in verbose and "epoch 2 of at most 2" in verbose
    for more in ((), ("-q",)):
        result = tslrec(*words, "-o", tmp_path / f"b{len(more)}", *more)
        assert result.stderr == "" and "best epoch" in result.stdout
    assert verbosity() == "quiet"  # until another command begins
    assert tslrec("--version").exit_code == 0 and verbosity() == "normal"


def test_a_training_that_was_best_at_its_end_says_so(cycle: Path, tmp_path: Path) -> None:
    """But not where the learning rate fell to 0 there."""
    for decay in ("none", "linear"):
        result = tslrec("train", cycle, "--epochs", 3, "--width", 32, "--learning-rate", 1e-2, "--decay", decay,
                        "--threads", 1, "-o", tmp_path / decay)
        assert "best epoch 3 of 3" in result.stdout
        assert ("more epochs may bring more" in result.stderr) == (decay == "none")


def test_quiet_and_verbose_at_once_are_refused(cycle_raw: Path, tmp_path: Path) -> None:
    result = tslrec("prepare", cycle_raw, "-o", tmp_path / "a", "-q", "-v")
    assert result.exit_code == 2 and "either --quiet or --verbose" in result.stderr
    assert tslrec("prepare", cycle_raw, "-o", tmp_path / "a", "-v", TSLREC_QUIET="1").stderr  # the nearer one wins


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_options_are_called_the_same_everywhere(path: tuple[str, ...], command: click.Command) -> None:
    flags = {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}
    assert {"-q", "--quiet", "-v", "--verbose"} <= flags
    assert "--json" in flags or "--format" in flags, "results are for machines too"
    assert ("-o" in flags) == ("--out" in flags)
    assert not flags & {"--output", "--force", "--num-threads", "--cuda", "--gpu", "--silent", "--config"}


@pytest.mark.parametrize(("path", "command", "option"), OPTIONS)
def test_every_option_is_read_from_its_variable(path: tuple[str, ...], command: click.Command, option: click.Option,
                                                monkeypatch: pytest.MonkeyPatch, any_paths: None) -> None:
    flag = next((flag for flag in option.opts if flag.startswith("--")), option.opts[0]).lstrip("-")
    assert option.envvar == "_".join(path).upper() + "_" + flag.replace("-", "_").upper()
    given, expected = an_example(option)
    monkeypatch.setenv(str(option.envvar), given)
    required = [parameter for parameter in command.params if parameter.required and parameter is not option]
    words = [word for parameter in required for word in (
        [parameter.opts[0], "x"] if isinstance(parameter, click.Option) else ["x"])]
    with command.make_context(path[-1], words) as context:
        if option.expose_value:
            assert context.params[str(option.name)] == expected
        else:
            assert verbosity() == flag


def an_example(option: click.Option) -> tuple[str, object]:
    """Return a text for a variable, and the value that it stands for."""
    kind = option.type
    if option.name == "existing":
        return "1", "overwrite"
    if option.is_flag:
        return "1", True
    if isinstance(kind, click.Choice):
        return str(kind.choices[-1]), kind.choices[-1]
    if isinstance(kind, click.types.FloatRange | click.types.FloatParamType):
        value = getattr(kind, "max", None)
        return ("0.25", 0.25) if value is None else (str(value), float(value))
    if isinstance(kind, click.types.IntRange | click.types.IntParamType):
        return "7", 7
    if isinstance(kind, click.Path):
        return "a folder", Path("a folder")
    return {"quants": ("F16,Q4_0", ["F16", "Q4_0"]), "seeds": ("3,4", [3, 4]),
            "metrics": ("hr@50 MRR", ("hr@50", "mrr"))}.get(str(option.name), ("some text", "some text"))


def test_flags_can_be_turned_off_by_their_variables(cycle_raw: Path, cycle: Path) -> None:
    for variable in ({}, {"TSLREC_PREPARE_OVERWRITE": "0"}, {"TSLREC_PREPARE_OVERWRITE": ""}):
        result = tslrec("prepare", cycle_raw, "-o", cycle, **variable)
        assert result.exit_code == 1 and "already exists" in result.stderr, variable


def test_the_command_line_goes_before_the_variable(cycle_raw: Path, tmp_path: Path) -> None:
    words = ("prepare", cycle_raw, "-o", tmp_path / "a")
    assert tslrec(*words, TSLREC_PREPARE_K_CORE="1000").exit_code == 1
    assert tslrec(*words, TSLREC_PREPARE_K_CORE="many").exit_code == 2
    assert tslrec(*words, "--k-core", 2, TSLREC_PREPARE_K_CORE="1000").exit_code == 0


def test_an_interrupted_command_ends_with_130(cycle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tslrec_min.cli", "train", str(cycle), "-o", str(tmp_path / "out"), "--epochs",
               "100000", "--patience", "100000", "--width", "8", "--threads", "1"]
    process = subprocess.Popen(  # a shell's background jobs ignore SIGINT, and so would this one
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / ".out.checkpoint").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and out == "" and err.strip().startswith("Interrupted"), err
    assert not list(tmp_path.glob(".out.tmp-*")) and not (tmp_path / "out").exists()


def completed(words: str, tmp_path: Path) -> list[str]:
    variables = {"_TSLREC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([sys.executable, "-m", "tslrec_min.cli"], env=os.environ | variables, cwd=tmp_path,
                          check=True, capture_output=True, text=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_shell_completion(tmp_path: Path) -> None:
    assert completed("tslrec ev", tmp_path) == ["evaluate"]
    assert completed("tslrec gguf q", tmp_path) == ["quantize"]
    assert completed("tslrec train --mask-p", tmp_path) == ["--mask-probability"]
    assert completed("tslrec train --model g", tmp_path) == ["gru4rec"]
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run([sys.executable, "-m", "tslrec_min.cli"], cwd=tmp_path, capture_output=True, text=True,
                              env=os.environ | {"_TSLREC_COMPLETE": f"{shell}_source"})
        assert "tslrec" in done.stdout, done.stderr
