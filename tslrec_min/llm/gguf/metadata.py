"""Metadata of a GGUF file that doesn't follow from the weights: its tokenizer and description."""

from __future__ import annotations

from typing import Any, NamedTuple

from gguf import GGUFValueType, GGUFWriter, ReaderField


class MetadataValue(NamedTuple):
    """A value with its type in the file."""

    value: Any
    kind: GGUFValueType
    item_kind: GGUFValueType | None = None
    """The type of an array's items."""


Metadata = dict[str, MetadataValue]


def value(plain: str | int | bool) -> MetadataValue:
    """Return a string, a yes/no value, or an unsigned 32-bit number such as a token id."""
    kinds = {str: GGUFValueType.STRING, bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32}
    return MetadataValue(plain, kinds[type(plain)])


def number(plain: int | float) -> MetadataValue:
    """Return an unsigned 32-bit number, or a 32-bit float."""
    return MetadataValue(plain, GGUFValueType.FLOAT32 if isinstance(plain, float) else GGUFValueType.UINT32)


def array(values: list[Any], item_kind: GGUFValueType) -> MetadataValue:
    """Return an array value."""
    return MetadataValue(values, GGUFValueType.ARRAY, item_kind)


def value_of(field: ReaderField) -> MetadataValue:
    """Return the value of a field that was read."""
    return MetadataValue(field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)


def write_metadata(writer: GGUFWriter, metadata: Metadata) -> None:
    """Add values to a file; empty arrays, which the format does not have, are left out."""
    for key, entry in metadata.items():
        if entry.value != []:
            writer.add_key_value(key, *entry)
