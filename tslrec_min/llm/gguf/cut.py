"""The first layers of a model as a GGUF file of their own.

States of a middle layer are often better embeddings than those of the last one, which is trained to predict the next
token (Skean et al., "Layer by Layer: Uncovering Hidden Representations in Language Models", ICML 2025,
arXiv 2502.02013), and fewer layers take less time. The file is a model like any other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from ...errors import TslrecError
from ...storage.atomic import replace_file
from ...storage.cache import made_once
from .metadata import Metadata, value_of, write_metadata
from .reader import gguf_reader, layers_of


def cut_layers(source: Path, target: Path, layers: int) -> None:
    """Write a model's first layers, with its embeddings, final norm, output layer and metadata; bytes are copied.

    Args:
        source: a .gguf file.
        target: the .gguf file to write; it appears once complete, and replaces an older one.
        layers: number of layers to keep, from 1.

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
            write_metadata(writer, _metadata(reader, name, count, layers))
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
    """Return a file in `folder` with the first layers of a model, and its SHA-256; it is written if absent or damaged.

    Args:
        source: a .gguf file.
        source_hash: its SHA-256.
        layers: number of layers to keep.
        folder: the cache.

    Raises:
        TslrecError: see `cut_layers`, or the folder can't be written.
    """
    target = folder / f"{source_hash[:12]}-{source.stem}-{layers}-layers.gguf"
    return target, made_once(target, lambda path: cut_layers(source, path, layers))


def _layer(tensor: str) -> int:
    """Return the layer of a tensor, or -1 if it is in none."""
    kind, _, rest = tensor.partition(".")
    return int(rest.partition(".")[0]) if kind == "blk" else -1


def _metadata(reader: GGUFReader, name: str, count: int, layers: int) -> Metadata:
    metadata = {key: value_of(field) for key, field in reader.fields.items()
                if not key.startswith("GGUF.") and key != "general.architecture"}  # the writer adds these itself
    for key, entry in metadata.items():
        if key == f"{name}.block_count":
            metadata[key] = entry._replace(value=layers)
        elif key.startswith(f"{name}.") and entry.kind == GGUFValueType.ARRAY and len(entry.value) == count:
            metadata[key] = entry._replace(value=entry.value[:layers])  # one value per layer
    return metadata
