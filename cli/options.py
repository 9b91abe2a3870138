"""Options that commands share, and options made from the configuration dataclasses."""

from __future__ import annotations

import dataclasses
import functools
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


class _CheckedPath(click.Path):
    """A path that is checked before anything slow is loaded."""

    def __init__(self, check: Callable[[Path], object]) -> None:
        super().__init__(path_type=Path)
        self.check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or raise the TslrecError of its check."""
        path: Path = super().convert(value, param, ctx)
        self.check(path)
        return path


class ArtifactFolder(_CheckedPath):
    """The folder of a finished artifact of a kind."""

    def __init__(self, kind: str) -> None:
        super().__init__(lambda path: expect_artifact(path, kind))


class GivenPath(_CheckedPath):
    """An existing file or folder, or one of `names`."""

    def __init__(self, expected: str, *, names: Sequence[str] = ()) -> None:
        super().__init__(lambda path: expect_path(path, expected, names))


def expect_path(path: Path, expected: str, names: Sequence[str]) -> None:
    """Raise `missing_path` if a path does not exist and is none of the names."""
    if str(path) not in names and not path.exists():
        raise missing_path(path, expected, names)


DATASET = ArtifactFolder("dataset")
VECTORS_PATH = GivenPath("give a folder that tslrec embed wrote, or a file of vectors")


def config_options(config_class: type, *, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Add an option per field of a configuration to a command, which gets the configuration as `config`."""
    return _field_options(config_class, without,
                          lambda chosen: {"config": from_mapping(config_class, chosen, "")})


def given_options(config_class: type, name: str) -> Callable[[Command], Command]:
    """Add the same options without defaults to a command, which gets the given values as the mapping `name`."""
    return _field_options(config_class, (), lambda chosen: {name: {key: value for key, value in chosen.items()
                                                                   if value is not None}}, with_defaults=False)


def _field_options(config_class: type, without: tuple[str, ...], arguments: Callable[[dict[str, Any]], dict[str, Any]],
                   *, with_defaults: bool = True) -> Callable[[Command], Command]:
    """Add an option per field to a command, which gets the `arguments` made from their values."""
    fields = [item for item in dataclasses.fields(config_class) if item.name not in without]
    hints = typing.get_type_hints(config_class)

    def decorate(command: Command) -> Command:
        def with_arguments(**values: Any) -> Any:
            chosen = {item.name: values.pop(item.name) for item in fields}
            return command(**arguments(chosen), **values)

        with_arguments.__name__, with_arguments.__doc__ = command.__name__, command.__doc__
        wrapped: Command = with_arguments
        wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        return _together(*(_option_of(item, hints[item.name], item.default if with_defaults else None)
                           for item in fields))(wrapped)

    return decorate


def _option_of(item: dataclasses.Field[Any], hint: Any, default: Any) -> Callable[[Command], Command]:
    choices, low, high = (item.metadata[key] for key in ("choices", "low", "high"))
    kind: Any = click.Choice(choices) if choices else plain_type(hint)
    if kind in (int, float) and (low is not None or high is not None):
        kind = (click.IntRange if kind is int else click.FloatRange)(low, high)
    flag = f"--{item.name.replace('_', '-')}"
    if kind is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    return click.option(flag, item.name, type=kind, default=default, help=item.metadata["help"], show_default=True)


def out_option(help: str) -> Callable[[Command], Command]:
    """Return --out."""
    return click.option("--out", "-o", type=PATH, required=True, help=help)


# A plain flag, so that its variable can be 0: a flag_value would take that for a value.
overwrite_option = click.option("--overwrite", "existing", is_flag=True, help="Replace the artifact at --out.",
                                callback=lambda _, __, chosen: Existing.OVERWRITE if chosen else Existing.REFUSE)
threads_option = click.option("--threads", type=click.IntRange(1), default=usable_processors,
                              show_default="all processors", help="Number of threads.")
device_option = click.option("--device", default="cpu", show_default=True, help="Torch device: cpu, cuda, mps.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
vectors_option = click.option(
    "--vectors", "kind", type=click.Choice(VECTORS[1:]), default="states", show_default=True,
    help="Which embeddings of a fine-tuned model to use: hidden states, preferences predicted by its head, both "
         "concatenated, or projected vectors, as for tslrec train.")


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds several options, in their order."""
    return lambda command: functools.reduce(lambda decorated, add: add(decorated), reversed(options), command)


stage_options = _together(device_option, threads_option, overwrite_option, json_option)
vector_file_options = _together(
    click.option("--embedding-ids", type=GivenPath("give a text file, one id per line"),
                 help="Text file with the ids of an .npy file, one per line."),
    click.option("--ignore-unknown-items", "ignore_unknown", is_flag=True,
                 help="Skip and count items of a vector file that are not in the data set."))


def check_vector_file_options(embeddings: Path | None, embedding_ids: Path | None, ignore_unknown: bool) -> None:
    """Raise UsageError if the options for vector files are given without --embeddings."""
    if embeddings is None and (embedding_ids is not None or ignore_unknown):
        raise click.UsageError("--embedding-ids and --ignore-unknown-items go with a file as --embeddings")


def format_of(out: Path, chosen: str | None, by_ending: Mapping[str, str]) -> str:
    """Return the format given with --format, else the one of the ending of --out.

    Raises:
        UsageError: the ending has no format.
    """
    output_format = chosen or by_ending.get(out.suffix)
    if output_format is None:
        raise click.UsageError(f"the format of {out} is not clear from its name; expected the ending "
                               f"{', '.join(by_ending)}; or give --format")
    return output_format


def writes_output() -> bool:
    """Return whether this process prints: of those that torchrun started, only the first one."""
    from ..runtime.distributed import rank

    return rank() == 0
