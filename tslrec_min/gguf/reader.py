"""GGUF -> transformers: configuration, float32 weights, tokenizer and the metadata to carry over.

Quantised tensors are dequantised with the ``gguf`` package, the reference implementation of the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from ..errors import TslrecError
from .metadata import Metadata, MetadataValue
from .names import ARCHITECTURES, Architecture, to_hf_rows

_OF_THE_WEIGHTS = ("general.architecture", "general.file_type", "general.quantization_version")


@dataclass(frozen=True)
class GgufModel:
    """The contents of a GGUF file in the terms of transformers."""

    architecture: str
    """GGUF's name of it."""
    config: dict[str, Any]
    """Keyword arguments of the transformers config, and ``model_type``."""
    state: dict[str, np.ndarray]
    """Tensor name in transformers -> float32 array."""
    metadata: Metadata


def read_gguf(path: Path) -> GgufModel:
    """Read a whole model.

    Raises:
        TslrecError: the file is damaged or cut off, or of an architecture or with rope scaling that isn't
            supported.
    """
    with _damage_reported(path):
        reader = GGUFReader(path)
        name = _architecture(reader, path)
        config = _config(reader, name, path)
        state = dict(_tensors(reader, ARCHITECTURES[name], config, path))
        return GgufModel(name, config, state, _metadata(reader))


def read_metadata(path: Path) -> Metadata:
    """Read the tokenizer and description alone.

    Raises:
        TslrecError: the file is damaged or cut off.
    """
    with _damage_reported(path):
        return _metadata(GGUFReader(path))


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise TslrecError(f"{path} does not exist; give a .gguf file") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError, MemoryError) as error:
        # the reader maps the file and trusts its counts, so damage shows up as any of these
        raise TslrecError(f"{path} is not a GGUF file, or it is damaged or cut off ({error}); get it again") from None


def _architecture(reader: GGUFReader, path: Path) -> str:
    field = reader.get_field("general.architecture")
    name = field.contents() if field else None
    if name not in ARCHITECTURES:
        raise TslrecError(f"{path} has the architecture {name!r}; expected one of {', '.join(ARCHITECTURES)}: "
                          "give another model")
    return name


def _config(reader: GGUFReader, name: str, path: Path) -> dict[str, Any]:
    values = {key: field.contents() for key, field in reader.fields.items() if key.startswith(name + ".")}
    scaling = values.get(f"{name}.rope.scaling.type", "none")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if scaling != "none" or "rope_freqs.weight" in tensors:
        raise TslrecError(f"{path} scales its rotary embedding, which tslrec does not convert; give a model "
                          "without rope scaling")
    architecture = ARCHITECTURES[name]
    config: dict[str, Any] = {"model_type": architecture.model_type, "architectures": [architecture.network],
                              **architecture.fixed}
    for key in architecture.keys:
        value = values.get(f"{name}.{key.gguf}")
        if value is not None:
            config.setdefault(key.hf, _shortest(value) if key.kind is float else int(value))
    config.setdefault("vocab_size", int(tensors["token_embd.weight"].shape[1]))
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    config.setdefault("rope_theta", 10000.0)  # the format's default
    config["tie_word_embeddings"] = "output.weight" not in tensors
    for hf, special in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")):
        field = reader.get_field(f"tokenizer.ggml.{special}_token_id")
        config[hf] = int(field.contents()) if field else None
    return config


def _shortest(value: float) -> float:
    """Return the shortest decimal that is this float32: 1e-05 rather than 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _tensors(reader: GGUFReader, architecture: Architecture, config: dict[str, Any],
             path: Path) -> Iterator[tuple[str, np.ndarray]]:
    stored = {tensor.name: tensor for tensor in reader.tensors}
    expected = list(architecture.expected_tensors(config["num_hidden_layers"], config["tie_word_embeddings"]))
    missing = [gguf for _, gguf, _ in expected if gguf not in stored]
    extra = sorted(stored.keys() - {gguf for _, gguf, _ in expected})
    if missing or extra:
        raise TslrecError(f"{path} lacks {len(missing)} tensors ({', '.join(missing[:3])}) and has {len(extra)} that "
                          f"its architecture doesn't know ({', '.join(extra[:3])}); give another model")
    for hf, gguf, entry in expected:
        weight = dequantize(stored[gguf].data, stored[gguf].tensor_type).astype(np.float32, copy=False)
        if entry.rotated_heads:
            weight = to_hf_rows(weight, config[entry.rotated_heads])
        yield hf, np.array(weight, order="C")  # a copy: the file is mapped read-only


def _metadata(reader: GGUFReader) -> Metadata:
    metadata: Metadata = {}
    for key, field in reader.fields.items():
        if key.startswith(("tokenizer.", "general.")) and key not in _OF_THE_WEIGHTS:
            metadata[key] = MetadataValue(field.contents(), field.types[0],
                                          field.types[-1] if len(field.types) > 1 else None)
    return metadata
