"""The fields of a configuration: how they are declared, and the check of values that are given for them.

Importing this module is cheap: it loads none of the heavy libraries.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from .errors import TslrecError

Config = TypeVar("Config")


def option(default: Any, help: str, *, choices: tuple[str, ...] | None = None, low: float | None = None,
           high: float | None = None) -> Any:
    """Declare a configuration field with its help, its allowed values or its closed range."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


def from_mapping(config_class: type[Config], values: Mapping[str, Any], where: str, *, also: Collection[str] = ()
                 ) -> Config:
    """Build a configuration from keys and values, checking all of them.

    Args:
        config_class: one of the dataclasses of `configs`.
        values: key -> value, as parsed from TOML or JSON.
        where: where the values come from, for messages.
        also: keys that can stand there beside the fields, and that the caller reads.

    Raises:
        TslrecError: names every unknown key and every bad value at once.
    """
    fields = {item.name: item for item in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(config_class)
    problems = unknown_keys(values, (*fields, *also))
    good: dict[str, Any] = {}
    for key in fields.keys() & values.keys():
        try:
            good[key] = _checked(values[key], hints[key], fields[key].metadata)
        except (ValueError, OverflowError) as error:  # a whole number that no float can hold
            problems.append(f"{key}: {error}")
    if problems:
        raise TslrecError(f"{where}: " + "; ".join(sorted(problems)))
    return config_class(**good)


def unknown_keys(values: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return a message for each key that isn't known: the known ones most like it, or all if none is."""
    problems = []
    for key in values:
        if key not in known:
            alike = difflib.get_close_matches(key, known)
            problems.append(f"unknown key {key!r} " + (f"(did you mean {' or '.join(alike)}?)" if alike else
                                                       f"(known: {', '.join(known)})"))
    return problems


def plain_type(hint: Any) -> type:
    """Return the type of a field without the None of an optional one."""
    if isinstance(hint, types.UnionType):
        return next(member for member in hint.__args__ if member is not type(None))
    return hint


def _checked(value: Any, hint: Any, metadata: Mapping[str, Any]) -> Any:
    expected = plain_type(hint)
    if value is None and expected is not hint:
        return None
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{value!r} is not {'an integer' if expected is int else 'a ' + expected.__name__}")
    if metadata["choices"] and value not in metadata["choices"]:
        raise ValueError(f"{value!r} is not one of {', '.join(metadata['choices'])}")
    if expected in (int, float):
        low, high = metadata["low"], metadata["high"]
        if value != value or (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"{value} is out of range; expected {describe_range(low, high)}")
    return value


def describe_range(low: float | None, high: float | None) -> str:
    """Say a closed range in words."""
    if low is None:
        return "any number" if high is None else f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"
