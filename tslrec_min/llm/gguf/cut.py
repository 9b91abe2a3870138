"""The first layers of a model as a GGUF file of their own.

States of a middle layer often serve as embeddings better than those of the last one, which is bent to the prediction of
the next token (Skean et al., "Layer by Layer: Uncovering Hidden Representations in Language Models", ICML 2025,
arXiv 2502.02013), and fewer layers take less time. The file is a model like any other: fine-tuning, quantising and
embedding need not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from ...errors import TslrecError
from ...storage.artifacts import sha256_of_file
from ...storage.atomic import replace_file
from .reader import gguf_reader, layers_of

_KEPT_BY_WRITER = "GGUF."  # what the reader calls the header


def cut_layers(source: Path, target: Path, layers: int) -> None:
    """Write a model's first layers, with its embeddings, final norm, output layer and metadata; bytes are copied.

    Args:
        source: a .gguf file.
        target: the .gguf file to write; it appears under its name when it is whole, and replaces an older one.
        layers: how many, from 1 to what the model has.

    Raises:
        TslrecError: the file is damaged, or has fewer layers.
    """
    with gguf_reader(source) as reader:
        name, count = layers_of(reader)
        if count is None:
            raise TslrecError(f"{source} does not say how many layers it has; give another model")
        if not 1 <= layers <= count:
            raise TslrecError(f"{layers} layers of {source.name} are asked for, which has {count}; give 1 to {count}")
        with replace_file(target) as temporary:
            writer = GGUFWriter(temporary, name)
            _copy_metadata(reader, writer, name, count, layers)
            tensors = [tensor for tensor in reader.tensors if _layer(tensor.name) < layers]
            for tensor in tensors:
                writer.add_tensor_info(tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes,
                                       raw_dtype=tensor.tensor_type)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in tensors:
                writer.write_tensor_data(np.array(tensor.data))
            writer.close()


def cached_cut(source: Path, source_hash: str, layers: int, folder: Path) -> tuple[Path, str]:
    """Return a file with the first layers of a model, made if it isn't in `folder` yet or was damaged there.

    Args:
        source: a .gguf file.
        source_hash: its SHA-256.
        layers: how many.
        folder: where the file is kept.

    Returns:
        The file and its SHA-256.

    Raises:
        TslrecError: see `cut_layers`, or the folder can't be written.
    """
    target = folder / f"{source_hash[:12]}-{source.stem}-{layers}-layers.gguf"
    note = target.with_name(target.name + ".sha256")
    if target.is_file() and note.is_file():
        found = sha256_of_file(target)
        if note.read_text(encoding="ascii").strip() == found:
            return target, found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cut_layers(source, target, layers)
        found = sha256_of_file(target)
        note.write_text(found + "\n", encoding="ascii")
    except OSError as error:
        raise TslrecError(f"{folder} can't be written: {error}; set TSLREC_CACHE to another folder") from None
    return target, found


def _layer(tensor: str) -> int:
    """Return a tensor's layer, or -1 for one that is of none."""
    kind, _, rest = tensor.partition(".")
    return int(rest.partition(".")[0]) if kind == "blk" else -1


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, name: str, count: int, layers: int) -> None:
    for key, field in reader.fields.items():
        if key.startswith(_KEPT_BY_WRITER) or key == "general.architecture":
            continue
        value: Any = field.contents()
        if key == f"{name}.block_count":
            value = layers
        elif key.startswith(f"{name}.") and field.types[0] == GGUFValueType.ARRAY and len(value) == count:
            value = value[:layers]  # a value a layer
        if value != []:  # the format has no empty arrays
            writer.add_key_value(key, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
