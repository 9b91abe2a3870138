"""Options that commands share, and options made from the configuration dataclasses."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..config_fields import from_mapping, plain_type
from ..configs import VECTORS
from ..errors import missing_path
from ..runtime.device import start_torch as start_torch
from ..runtime.device import usable_processors
from ..storage.artifacts import expect_artifact
from ..storage.existing import Existing

Command = Callable[..., Any]
PATH = click.Path(path_type=Path)


class ArtifactFolder(click.Path):
    """The folder of a finished artifact, refused before anything slow is loaded."""

    def __init__(self, kind: str) -> None:
        super().__init__(path_type=Path)
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            TslrecError: there is no such artifact, or it is of another kind.
        """
        path = super().convert(value, param, ctx)
        expect_artifact(path, self.kind)
        return path


DATASET = ArtifactFolder("dataset")


class GivenPath(click.Path):
    """A file or folder that is there, refused before anything slow is loaded if it isn't."""

    def __init__(self, expected: str, *, names: Sequence[str] = ()) -> None:
        super().__init__(path_type=Path)
        self.expected = expected
        self.names = names
        """What can be given in place of a path."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            TslrecError: there is nothing; says what was expected, or probably meant.
        """
        path: Path = super().convert(value, param, ctx)
        expect_path(path, self.expected, self.names)
        return path


def expect_path(path: Path, expected: str, names: Sequence[str]) -> None:
    """Raise `missing_path` if nothing is there and it is none of the names."""
    if str(path) not in names and not path.exists():
        raise missing_path(path, expected, names)


VECTORS_PATH = GivenPath("give a folder that tslrec embed wrote, or a file of vectors")


def config_options(config_class: type, *, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Give a command one option per field of a configuration; it gets the configuration as `config`."""
    return _field_options(config_class, without,
                          lambda chosen: {"config": from_mapping(config_class, chosen, "")})


def given_options(config_class: type, name: str) -> Callable[[Command], Command]:
    """Give a command these options without their defaults; it gets the values that are given as the mapping `name`."""
    return _field_options(config_class, (), lambda chosen: {name: {key: value for key, value in chosen.items()
                                                                   if value is not None}}, with_defaults=False)


def _field_options(config_class: type, without: tuple[str, ...], arguments: Callable[[dict[str, Any]], dict[str, Any]],
                   *, with_defaults: bool = True) -> Callable[[Command], Command]:
    """Give a command one option per field; it gets the arguments that are made of their values."""
    fields = [item for item in dataclasses.fields(config_class) if item.name not in without]
    hints = typing.get_type_hints(config_class)

    def decorate(command: Command) -> Command:
        def with_arguments(**values: Any) -> Any:
            chosen = {item.name: values.pop(item.name) for item in fields}
            return command(**arguments(chosen), **values)

        with_arguments.__name__, with_arguments.__doc__ = command.__name__, command.__doc__
        wrapped: Command = with_arguments
        wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        for item in reversed(fields):
            wrapped = _option_of(item, hints[item.name], item.default if with_defaults else None)(wrapped)
        return wrapped

    return decorate


def _option_of(item: dataclasses.Field[Any], hint: Any, default: Any) -> Callable[[Command], Command]:
    choices, low, high = (item.metadata[key] for key in ("choices", "low", "high"))
    kind: Any = click.Choice(choices) if choices else plain_type(hint)
    if kind in (int, float) and (low is not None or high is not None):
        kind = (click.IntRange if kind is int else click.FloatRange)(low, high)
    flag = f"--{item.name.replace('_', '-')}"
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", item.name, default=default, help=item.metadata["help"],
                            show_default=True)
    return click.option(flag, item.name, type=kind, default=default, help=item.metadata["help"], show_default=True)


def out_option(help: str) -> Callable[[Command], Command]:
    """Return --out."""
    return click.option("--out", "-o", type=PATH, required=True, help=help)


# A plain flag, so that its variable can be 0: a flag_value would take that for a value.
overwrite_option = click.option("--overwrite", "existing", is_flag=True, help="Replace the artifact at --out.",
                                callback=lambda _, __, chosen: Existing.OVERWRITE if chosen else Existing.REFUSE)
threads_option = click.option("--threads", type=click.IntRange(1), default=usable_processors,
                              show_default="all processors", help="Threads to compute with.")
device_option = click.option("--device", default="cpu", show_default=True, help="Device of torch: cpu, cuda, mps.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines instead of a table.")


vectors_option = click.option(
    "--vectors", "kind", type=click.Choice(VECTORS[1:]), default="states", show_default=True,
    help="Of a folder that tslrec embed wrote with a fine-tuned model: its hidden states, the preferences that its "
         "head makes of them, or both side by side, as for tslrec train.")


def vector_file_options(command: Command) -> Command:
    """Add what goes with item vectors that come as a file: --embedding-ids and --ignore-unknown-items."""
    for add in (
        click.option("--ignore-unknown-items", "ignore_unknown", is_flag=True,
                     help="Leave out items of a file that the data set doesn't know; they are counted."),
        click.option("--embedding-ids", type=GivenPath("give a text file, one id a line"),
                     help="The ids of an .npy file: a text file, one id a line."),
    ):
        command = add(command)
    return command


def check_vector_file_options(embeddings: Path | None, embedding_ids: Path | None, ignore_unknown: bool) -> None:
    """Raise UsageError if what `vector_file_options` gave has no vectors that it could go with."""
    if embeddings is None and (embedding_ids is not None or ignore_unknown):
        raise click.UsageError("--embedding-ids and --ignore-unknown-items go with a file as --embeddings")


def format_of(out: Path, chosen: str | None, by_ending: Mapping[str, str]) -> str:
    """Return the format that --format chose, or the one that the ending of --out stands for.

    Raises:
        UsageError: neither says it.
    """
    found = chosen or by_ending.get(out.suffix)
    if found is None:
        raise click.UsageError(f"the format of {out} is not clear from its name; expected the ending "
                               f"{', '.join(by_ending)}, or say it with --format")
    return found


def stage_options(command: Command) -> Command:
    """Add the options of every stage that computes: --device, --threads, --overwrite and --json."""
    for add in (json_option, overwrite_option, threads_option, device_option):
        command = add(command)
    return command


def writes_output() -> bool:
    """Return whether this process prints: of those that torchrun started, the first one."""
    from ..runtime.distributed import rank

    return rank() == 0
