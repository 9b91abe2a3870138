"""The fields of a configuration: their declaration, and the check of values given for them.

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
MAX_SEED = 2**63 - 1
SET = ()
"""In a field's `only_for`: any value of the other field except its default."""


def option(default: Any, help: str, *, choices: tuple[str, ...] | None = None, low: float | None = None,
           high: float | None = None, only_for: Mapping[str, tuple[str, ...]] | None = None,
           also_for: Mapping[str, tuple[str, ...]] | None = None) -> Any:
    """Declare a configuration field.

    Args:
        default: its value if none is given.
        help: a sentence or two, for all interfaces.
        choices: allowed values.
        low, high: closed range of allowed values.
        only_for: other field -> its values with which this field is read, or `SET`. All conditions must hold; they are
            added to the help.
        also_for: other conditions with which it is read too.
    """
    if only_for:
        read_with = [_conditions(conditions, flags=True) for conditions in (only_for, also_for) if conditions]
        help = f"{help} Only with {', or with '.join(read_with)}."
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high,
                                                        "only_for": only_for or {}, "also_for": also_for})


def from_mapping(config_class: type[Config], values: Mapping[str, Any], where: str, *, also: Collection[str] = (),
                 refuse_unread: bool = True) -> Config:
    """Build a configuration from keys and values, checking all of them.

    Args:
        config_class: one of the dataclasses of `configs`.
        values: key -> value, as parsed from TOML or JSON.
        where: source of the values, for messages; empty: the command line, where keys are flags.
        also: keys beside the fields that the caller reads.
        refuse_unread: refuse settings that nothing reads; false for an artifact, which stores every field, and for a
            section that several arms share.

    Raises:
        TslrecError: lists every unknown key and every bad value, or every setting that nothing reads.
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
    if not problems and refuse_unread:
        problems = list(unread_settings(config_class, good, flags=not where).values())
    if problems:
        raise TslrecError(f"{where}: " * bool(where) + "; ".join(sorted(problems)))
    return config_class(**good)


def unread_settings(config_class: type, values: Mapping[str, Any], *, flags: bool = False) -> dict[str, str]:
    """Return the given fields that are not read because of the others, with a message for each.

    A field is read if all conditions of its `only_for` hold, and those that the class has for it in SHARED_CONDITIONS:
    conditions of most of its fields, which the help of each doesn't repeat. It is also read if the conditions of its
    `also_for` hold. Its default value is always allowed.
    """
    fields = {item.name: item for item in dataclasses.fields(config_class)}
    chosen = {name: values.get(name, item.default) for name, item in fields.items()}
    unread: dict[str, str] = {}
    for name, item in fields.items():
        only_for, failed = item.metadata["only_for"], _failed_condition(config_class, name, chosen)
        if failed and chosen[name] != item.default:
            given, other = (_setting(key, chosen[key], flags=flags) for key in (name, failed))
            named = only_for if failed in only_for else {failed: _conditions_of(config_class, item)[failed]}
            unread[name] = f"{given} is only used with {_conditions(named, flags=flags)}; got {other}"
    return unread


def _conditions_of(config_class: type, item: dataclasses.Field[Any]) -> dict[str, tuple[str, ...]]:
    return {**getattr(config_class, "SHARED_CONDITIONS", {}).get(item.name, {}), **item.metadata["only_for"]}


def _failed_condition(config_class: type, name: str, chosen: Mapping[str, Any]) -> str | None:
    """Return the first field whose value keeps the field `name` from being read; None if it is read."""
    fields = {item.name: item for item in dataclasses.fields(config_class)}
    also = fields[name].metadata["also_for"]
    if also and all(chosen.get(other) in wanted for other, wanted in also.items()):
        return None
    return next((other for other, wanted in _conditions_of(config_class, fields[name]).items() if not (
        chosen[other] in wanted if wanted else chosen[other] != fields[other].default)), None)


def is_read(config_class: type, name: str, values: Mapping[str, Any]) -> bool:
    """Return whether a field is read, given the values of all."""
    return _failed_condition(config_class, name, values) is None


def own_settings(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration that are read and are not at their defaults."""
    values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    return {item.name: values[item.name] for item in dataclasses.fields(config)
            if values[item.name] != item.default and is_read(type(config), item.name, values)}


def overlaid(config_class: type, shared: Mapping[str, Any], own: Mapping[str, Any]
             ) -> tuple[dict[str, Any], dict[str, str]]:
    """Return `shared` values overridden by `own` ones, without the shared ones that are then not read; and these.

    Returns:
        The values; and key -> message, see `unread_settings`, of the shared ones that are left out.
    """
    unread = unread_settings(config_class, {**shared, **own})
    return ({key: value for key, value in shared.items() if key not in unread} | dict(own),
            {key: text for key, text in unread.items() if key in shared})


def _conditions(only_for: Mapping[str, tuple[str, ...]], *, flags: bool) -> str:
    """Return the conditions as text, such as ``--loss sampled, bce or gbce and --sampling popularity``."""
    parts = []
    for name, wanted in only_for.items():
        values = f"{', '.join(wanted[:-1])} or {wanted[-1]}" if len(wanted) > 1 else "".join(wanted)
        parts.append(_setting(name, values, flags=flags) if wanted else _key(name, flags=flags))
    return " and ".join(parts)


def _setting(name: str, value: Any, *, flags: bool) -> str:
    """Return a field's value as text: a flag and its value, or a key and its value."""
    if not flags:
        return f"{name} = {value}"
    if isinstance(value, bool):
        return _key(name if value else f"no_{name}", flags=True)
    return f"{_key(name, flags=True)} {value}"


def _key(name: str, *, flags: bool) -> str:
    return f"--{name.replace('_', '-')}" if flags else name


def unknown_keys(values: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return a message for each unknown key, with similar known keys, or all if none is similar."""
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
    """Return a closed range as text."""
    if low is None:
        return "any number" if high is None else f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"
