from __future__ import annotations

from pathlib import Path

import click
import pytest

from tslrec_min.cli import main
from tslrec_min.cli.every_command import every_command
from tslrec_min.runtime.progress import verbosity

from ..factories import tslrec

COMMANDS = [(path, command) for path, command in every_command(main, ("tslrec",))
            if not isinstance(command, click.Group)]
OPTIONS = [pytest.param(path, command, option, id=f"{' '.join(path[1:])} {option.opts[-1]}")
           for path, command in COMMANDS for option in command.params
           if isinstance(option, click.Option) and option.envvar]


def test_options_from_the_environment(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSLREC_PREPARE_K_CORE", "1000")
    result = tslrec("prepare", prepared / "raw", "-o", tmp_path / "a")
    assert result.exit_code == 1 and "lower --k-core" in result.output


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
