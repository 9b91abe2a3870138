"""Write docs/cli.md from the help of every command; ``--check`` writes nothing and fails if the page is stale."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tslrec_min.cli import main
from tslrec_min.cli.every_command import every_command

PAGE = Path(__file__).with_name("cli.md")
OF_EVERY_COMMAND = ("quiet", "verbose", "help")
INTRODUCTION = """\
# The command line

Generated from the help of the commands by `python docs/generate_cli.py`; do not edit.

## What holds for every command

- **Output.** Standard output has only the result: a table for people, or JSON with `--json`. Progress (a bar on a
  terminal, else a line every 20 seconds), notes, warnings and errors go to standard error.
- **Verbosity.** `-q`, `--quiet`: no progress and notes. `-v`, `--verbose`: each step on standard error, with the
  seconds since the start, and a line for every epoch. Both may stand before the command: `tslrec -q train ...`.
  `-h`, `--help`: the command's help.
- **Defaults from the environment.** Every option has a variable: `--max-len` of `tslrec train` is
  `TSLREC_TRAIN_MAX_LEN`, `--items` of `tslrec gguf report` is `TSLREC_GGUF_REPORT_ITEMS`, `--quiet` of all commands
  `TSLREC_QUIET`. Flags take 1 and 0; options that can be repeated take values separated by spaces. The command line
  overrides the environment.
- **Existing folders and files** are refused unless `--overwrite` is given. To resume an interrupted command, give it
  again.
- **Exit status.** 0: success. 1: invalid input, with a line on standard error that says what was given, what was
  expected and what to do; or a failed check (`gguf verify`, `bench --check`). 2: wrong usage, such as an unknown
  option. 130: interrupted by Ctrl-C.
- **Completion.** The shell completes commands, options and their choices after `eval "$(_TSLREC_COMPLETE=bash_source
  tslrec)"` in `~/.bashrc`, `eval "$(_TSLREC_COMPLETE=zsh_source tslrec)"` in `~/.zshrc`, or
  `_TSLREC_COMPLETE=fish_source tslrec | source` in `~/.config/fish/completions/tslrec.fish`.
"""


def page() -> str:
    """Return the text of the page."""
    commands = [(path, command) for path, command in every_command(main, ("tslrec",)) if len(path) > 1]
    links = [f"[`{' '.join(path)}`](#{'-'.join(path)})" for path, _ in commands]
    return "\n".join([INTRODUCTION, f"Commands: {', '.join(links)}.", *(
        "\n" + "\n\n".join(section(path, command)) for path, command in commands)]) + "\n"


def section(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    """Yield the parts of a command's section: heading, usage, help, options."""
    context = click.Context(command, info_name=" ".join(path))
    yield f"## {' '.join(path)}"
    if not isinstance(command, click.Group):
        yield f"`{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`"
    for block in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from example(block) if block.startswith("\b") else [block]
    rows = [row(option, context) for option in command.params
            if isinstance(option, click.Option) and option.name not in OF_EVERY_COMMAND]
    if rows:
        yield "\n".join(["| option | |", "|---|---|", *rows])


def example(block: str) -> Iterator[str]:
    """Yield the titles and the commands of a block that click leaves as it is."""
    commands: list[str] = []
    for line in [*block.splitlines()[1:], ""]:
        if line.startswith(" "):
            commands.append(line.strip())
            continue
        if commands:
            yield "\n".join(["```bash", *commands, "```"])
        commands = []
        if line:
            yield line


def row(option: click.Option, context: click.Context) -> str:
    """Return an option's row of the table."""
    names, text = option.get_help_record(context) or ("", "")
    names, text = (part.replace("\n", "\\n").replace("|", "\\|") for part in (names, text))
    return f"| `{names}` | {' '.join(text.split())} |"


def run() -> None:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is what would be written")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE} is stale; run: python docs/generate_cli.py")


if __name__ == "__main__":
    run()
