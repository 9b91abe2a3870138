"""GGUF -> transformers: configuration, float32 weights, tokenizer and the metadata to carry over.

Quantised tensors are dequantised on access with the ``gguf`` package, the reference implementation of the format, so a
model is never in memory twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFEndian, GGUFReader, GGUFValueType, ReaderTensor
from gguf.quants import dequantize

from ...errors import TslrecError, missing_path
from .metadata import Metadata, value_of
from .names import ARCHITECTURES, Architecture, TensorName, layers_by_period, to_hf_rows
from .rope import scaling_of_factors

_MAX_LAYERS = 512  # llama.cpp's limit
_ROWS_AT_ONCE = 1024  # dequantised together
_OF_THE_WEIGHTS = ("general.architecture", "general.file_type", "general.quantization_version")


class _Reader(GGUFReader):
    """The package's reader with a faster way to read arrays.

    The package makes two NumPy objects for every string and one for every number: 13 s and 700 MB for a vocabulary of
    262,144 tokens.
    """

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        kind = GGUFValueType(int(self._get(orig_offs, np.uint32)[0]))
        count = int(self._get(orig_offs + 4, np.uint64)[0])
        if not count or (kind != GGUFValueType.STRING and kind not in self.gguf_scalar_to_np):
            return super()._get_field_parts(orig_offs, raw_type)
        items, size = self._strings(orig_offs + 12, count) if kind == GGUFValueType.STRING else self._numbers(
            orig_offs + 12, count, kind)
        return 12 + size, items, list(range(len(items))), [GGUFValueType.ARRAY, kind]

    def _numbers(self, offset: int, count: int, kind: GGUFValueType) -> tuple[list[Any], int]:
        numbers = self._get(offset, self.gguf_scalar_to_np[kind], count)
        if len(numbers) < count:
            raise ValueError(f"an array of {count} numbers goes beyond the end of the file")
        return [numbers], numbers.nbytes

    def _strings(self, offset: int, count: int) -> tuple[list[Any], int]:
        length = struct.Struct(">Q" if self.endianess == GGUFEndian.BIG else "<Q")
        data, strings, begin = self.data.data, [], offset
        for _ in range(count):
            if begin + length.size > len(data):
                raise ValueError(f"an array of {count} strings goes beyond the end of the file")
            end = begin + length.size + length.unpack_from(data, begin)[0]
            strings.append(data[begin + length.size: end])
            begin = end
        return strings, begin - offset


class GgufTensors(Mapping[str, np.ndarray]):
    """The weights under their names in transformers; each is read and converted to float32 on access."""

    def __init__(self, path: Path, stored: Mapping[str, tuple[ReaderTensor, TensorName]],
                 config: Mapping[str, Any]) -> None:
        self._path, self._stored, self._config = path, stored, config

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a new float32 array with the shape and the order of rows that transformers expects."""
        tensor, entry = self._stored[name]
        weight = _dequantized(self._path, tensor)
        if entry.rotated_heads:
            weight = to_hf_rows(weight, self._config[entry.rotated_heads])
        if entry.offset:
            weight -= np.float32(entry.offset)
        return np.ascontiguousarray(weight)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


@dataclass(frozen=True)
class GgufModel:
    """The contents of a GGUF file in the terms of transformers."""

    architecture: str
    """GGUF's name of the architecture."""
    config: dict[str, Any]
    """Keyword arguments of the transformers config, and ``model_type``."""
    state: Mapping[str, np.ndarray]
    """Tensor name in transformers -> float32 array, made on access."""
    metadata: Metadata


def read_gguf(path: Path) -> GgufModel:
    """Read everything but the weights, which are read on access.

    Raises:
        TslrecError: the file is damaged or cut off, or its architecture or rope scaling isn't supported.
    """
    with gguf_reader(path) as reader:
        name, _ = layers_of(reader)
        if name not in ARCHITECTURES:
            raise TslrecError(f"{path} has the architecture {name!r}; expected one of {', '.join(ARCHITECTURES)}: "
                              "give another model")
        config = _config(reader, name, path)
        state = _tensors(reader, ARCHITECTURES[name], config, path)
        return GgufModel(name, config, state, _metadata(reader))


def read_metadata(path: Path) -> Metadata:
    """Read the tokenizer and description alone.

    Raises:
        TslrecError: the file is damaged or cut off.
    """
    with gguf_reader(path) as reader:
        return _metadata(reader)


@contextmanager
def gguf_reader(path: Path) -> Iterator[GGUFReader]:
    """Open a file; damage found in the block becomes a TslrecError."""
    try:
        reader = _Reader(path)
        if any(not key or "\0" in key for key in reader.fields):  # llama.cpp would end the process
            raise ValueError("a key is empty or has a NUL")
        yield reader
    except FileNotFoundError:
        raise missing_path(path, "give a .gguf file") from None
    except IsADirectoryError:
        raise TslrecError(f"{path} is a folder; give a .gguf file") from None
    except TslrecError:
        raise
    except Exception as error:  # the reader trusts the file's counts, so damage can raise anything
        raise TslrecError(f"{path} is not a GGUF file, or it is damaged or cut off ({error}); get it again") from None


def check_gguf(path: Path) -> None:
    """Refuse a file with which llama.cpp would end the process.

    Raises:
        TslrecError: the file is damaged or cut off.
    """
    with gguf_reader(path) as reader:
        _, layers = layers_of(reader)
        if layers is not None and not 0 < layers <= _MAX_LAYERS:
            raise ValueError(f"it has {layers} layers; expected 1 to {_MAX_LAYERS}")
        tokens = reader.get_field("tokenizer.ggml.tokens")
        if tokens and tokens.types == [GGUFValueType.ARRAY, GGUFValueType.STRING]:
            texts = [bytes(tokens.parts[part]).partition(b"\0")[0] for part in tokens.data]  # as C reads them
            named = [text for text in texts if text]  # llama.cpp renames empty ones
            if len(set(named)) < len(named):
                raise ValueError("two of its tokens are the same")


def layers_of(reader: GGUFReader) -> tuple[str, int | None]:
    """Return the name of the architecture and the number of layers; "" and None if the file does not say."""
    architecture = reader.get_field("general.architecture")
    name = str(architecture.contents()) if architecture else ""
    count = reader.get_field(f"{name}.block_count")
    return name, int(count.contents()) if count else None


def _config(reader: GGUFReader, name: str, path: Path) -> dict[str, Any]:
    values = {key.removeprefix(name + "."): field.contents() for key, field in reader.fields.items()
              if key.startswith(name + ".")}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    architecture = ARCHITECTURES[name]
    config: dict[str, Any] = {"model_type": architecture.model_type, "architectures": [architecture.network],
                              **architecture.fixed}
    config["vocab_size"] = int(tensors["token_embd.weight"].shape[1])
    for key in architecture.keys:
        if key.gguf in values:
            value = key.kind(values[key.gguf])
            if key.kind is float:  # the shortest decimal of a float32: 1e-05 rather than 9.999999747378752e-06
                value = float(str(np.float32(value)))
            if config.setdefault(key.hf, value) != value:
                raise TslrecError(f"{path} has {name}.{key.gguf} = {value}, where its architecture or its other keys "
                                  f"imply {config[key.hf]}; tslrec does not convert that: give another model")
    config.setdefault("rope_theta", 10000.0)  # the format's default
    if "num_attention_heads" in config and "hidden_size" in config:  # otherwise `lacking` has it
        config.setdefault("num_key_value_heads", config["num_attention_heads"])
        config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    lacking = [key.gguf for key in architecture.keys if key.hf not in config]
    if lacking:
        raise TslrecError(f"{path} lacks the keys {', '.join(lacking)} of a {name}; get it again")
    _check_sizes(tensors, config, path)
    config |= {key: rule(config) for key, rule in architecture.derived.items()}
    _check_layers(values, config, path)
    config |= _rope_scaling(values, tensors, architecture, config, path)
    config["tie_word_embeddings"] = "output.weight" not in tensors
    for hf, special in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")):
        field = reader.get_field(f"tokenizer.ggml.{special}_token_id")
        config[hf] = int(field.contents()) if field else None
    return config


def _check_sizes(tensors: Mapping[str, ReaderTensor], config: Mapping[str, Any], path: Path) -> None:
    """Refuse sizes that don't fit the tensors: they could ask for any amount of memory."""
    wrong = [f"{name} = {value}" for name, value in config.items() if type(value) is int and value < 1]
    if config["num_hidden_layers"] > len(tensors):
        wrong.append(f"{config['num_hidden_layers']} layers with {len(tensors)} tensors")
    expected = {"token_embd.weight": (config["hidden_size"], config["vocab_size"]),
                "blk.0.attn_q.weight": (config["hidden_size"], config["num_attention_heads"] * config["head_dim"]),
                "blk.0.attn_k.weight": (config["hidden_size"], config["num_key_value_heads"] * config["head_dim"]),
                "blk.0.ffn_up.weight": (config["hidden_size"], config["intermediate_size"])}
    wrong += [f"{name} is {tensors[name].shape.tolist()}, expected {list(shape)}" for name, shape in expected.items()
              if name in tensors and tuple(tensors[name].shape.tolist()) != shape]
    if wrong:
        raise TslrecError(f"{path} has a configuration that doesn't fit its tensors ({'; '.join(wrong)}); get it again")


def _check_layers(values: Mapping[str, Any], config: Mapping[str, Any], path: Path) -> None:
    """Refuse a file whose sliding layers are not those that its architecture implies; most files don't say."""
    pattern = values.get("attention.sliding_window_pattern")
    if pattern is None:
        return
    slides = ["sliding_attention" if layer else "full_attention" for layer in pattern] if isinstance(
        pattern, list) else layers_by_period(config["num_hidden_layers"], int(pattern))
    if slides != config.get("layer_types"):
        raise TslrecError(f"{path} has attention.sliding_window_pattern = {pattern}, which tslrec does not convert; "
                          "give another model")


def _rope_scaling(values: Mapping[str, Any], tensors: Mapping[str, ReaderTensor], architecture: Architecture,
                  config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the part of the config for the file's rope scaling."""
    factors = [values.get("rope.scaling.factor", 0.0), values.get("rope.scale_linear", 0.0)]
    kind = values.get("rope.scaling.type", "linear")  # llama.cpp's default
    if kind not in ("none", "linear") or (kind == "linear" and any(factor not in (0.0, 1.0) for factor in factors)):
        raise TslrecError(f"{path} scales its rotary embedding ({kind}), which tslrec does not convert; give a model "
                          "without rope scaling")
    if "rope_freqs.weight" not in tensors or not architecture.scales_rope:
        return {}
    stored = np.array(tensors["rope_freqs.weight"].data, dtype=np.float32)
    if (stored == 1).all():
        return {}
    scaling = scaling_of_factors(stored, config["rope_theta"], config["head_dim"])
    if scaling is None:
        raise TslrecError(f"{path} has a rope_freqs.weight that does not follow Llama 3's rule, the only rope scaling "
                          "that tslrec converts; give another model")
    return {"rope_scaling": {"rope_type": "llama3", **scaling}}


def _tensors(reader: GGUFReader, architecture: Architecture, config: dict[str, Any], path: Path) -> GgufTensors:
    stored = {tensor.name: tensor for tensor in reader.tensors}
    if architecture.scales_rope:
        stored.pop("rope_freqs.weight", None)  # it is in the config
    expected = list(architecture.expected_tensors(config["num_hidden_layers"], config["tie_word_embeddings"]))
    missing = [gguf for _, gguf, _ in expected if gguf not in stored]
    extra = sorted(stored.keys() - {gguf for _, gguf, _ in expected})
    if missing or extra:
        raise TslrecError(f"{path} lacks {len(missing)} tensors ({', '.join(missing[:3])}) and has {len(extra)} that "
                          f"its architecture doesn't know ({', '.join(extra[:3])}); give another model")
    return GgufTensors(path, {hf: (stored[gguf], entry) for hf, gguf, entry in expected}, config)


def _dequantized(path: Path, tensor: ReaderTensor) -> np.ndarray:
    """Return a tensor as a new float32 array.

    It is read in parts, since dequantising takes several times the memory of its result, and not through the reader's
    memory map, whose pages would stay in memory.
    """
    weight = np.empty(tensor.shape[::-1].tolist(), dtype=np.float32)  # GGUF counts axes from the innermost
    rows, items = tensor.data.shape if tensor.data.ndim == 2 else (1, tensor.data.size)
    for start in range(0, rows, _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, rows - start)
        part = np.fromfile(path, tensor.data.dtype, count * items,
                           offset=tensor.data_offset + start * items * tensor.data.itemsize)
        weight.reshape(rows, -1)[start: start + count] = dequantize(part.reshape(count, items), tensor.tensor_type)
    return weight


def _metadata(reader: GGUFReader) -> Metadata:
    return {key: value_of(field) for key, field in reader.fields.items()
            if key.startswith(("tokenizer.", "general.")) and key not in _OF_THE_WEIGHTS}
