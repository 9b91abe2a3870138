"""What every command has: --quiet, --verbose, and an environment variable for each option."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from ..runtime.progress import set_verbosity


def every_command(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield (path, command) for a group and every command below it, parents first."""
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name), command


def complete(main: click.Group, name: str) -> None:
    """Add the options to a group called `name` and to every command below it, and name their variables."""
    for path, command in list(every_command(main, (name,))):
        command.params += [
            click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_choose("quiet"),
                         help="Show only errors and warnings: no progress bars, no notes."),
            click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, callback=_choose("verbose"),
                         help="Log each step to standard error, with the seconds since the start.")]
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_eager and option.envvar is None:
                option.envvar = _environment_variable(path, option)


def _environment_variable(path: tuple[str, ...], option: click.Option) -> str:
    """Return the name of an option's variable: TSLREC_TRAIN_MAX_LEN for --max-len of tslrec train."""
    flag = max(option.opts, key=lambda flag: flag.startswith("--"))  # the first long one, if there is one
    return "_".join((*path, flag.lstrip("-"))).replace("-", "_").upper()


def _choose(level: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def choose(context: click.Context, _option: click.Parameter, chosen: bool) -> None:
        if chosen:
            if context.meta.setdefault(f"verbosity of {context.command_path}", level) != level:
                raise click.UsageError("give either --quiet or --verbose")
            set_verbosity(level)

    return choose
