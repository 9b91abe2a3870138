"""Metadata of a GGUF file, as far as it doesn't follow from the weights: its tokenizer and description."""

from __future__ import annotations

from typing import Any, NamedTuple

from gguf import GGUFValueType


class MetadataValue(NamedTuple):
    """A value with the type that it has in the file."""

    value: Any
    kind: GGUFValueType
    item_kind: GGUFValueType | None = None
    """The type of an array's items."""


Metadata = dict[str, MetadataValue]


def text(value: str) -> MetadataValue:
    """Return a string value."""
    return MetadataValue(value, GGUFValueType.STRING)


def count(value: int) -> MetadataValue:
    """Return an unsigned 32-bit value, such as a token id."""
    return MetadataValue(int(value), GGUFValueType.UINT32)


def flag(value: bool) -> MetadataValue:
    """Return a yes/no value."""
    return MetadataValue(bool(value), GGUFValueType.BOOL)


def array(values: list[Any], item_kind: GGUFValueType) -> MetadataValue:
    """Return an array value."""
    return MetadataValue(values, GGUFValueType.ARRAY, item_kind)
