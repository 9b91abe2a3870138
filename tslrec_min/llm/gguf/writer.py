"""Transformers -> GGUF, through the ``gguf`` package's writer and the table in `names`.

Tensors are converted and written one at a time: beyond the model, memory holds the largest tensor only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.quants import quantize

from ...errors import TslrecError
from ...storage.atomic import replace_file
from .metadata import Metadata, number, write_metadata
from .names import ARCHITECTURES, Architecture, TensorName, architecture_of_config, plain_config, to_gguf_rows
from .rope import frequency_factors

_LARGEST = float(np.finfo(np.float16).max)


def write_gguf(path: Path, network: Any, config: Mapping[str, Any], metadata: Metadata) -> None:
    """Write a model in float16, with norms and biases in float32.

    Args:
        path: the file to write; it appears once complete, and replaces an older one.
        network: a transformers model, or its state dict of tensors or arrays.
        config: its config as a dict (``network.config.to_dict()``).
        metadata: tokenizer and description (`LanguageModel.metadata`).

    Raises:
        TslrecError: a tensor is missing, unknown, not finite or too large for float16, or the model has something
            that GGUF's architecture can't express.
    """
    state = network.state_dict() if hasattr(network, "state_dict") else network
    name = architecture_of_config(config)
    plain = plain_config(config)
    expected = _check_names(ARCHITECTURES[name], state, plain)
    _check_vocabulary(metadata, plain)
    tensors = [*_rope_factors(plain), *(file_tensor(gguf, state, hf, entry, plain) for hf, gguf, entry in expected)]
    keys = {key.gguf: number(key.kind(plain[key.hf])) for key in ARCHITECTURES[name].keys}
    write_file(path, name, keys, metadata, tensors)


class FileTensor(NamedTuple):
    """A tensor to write."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    """F16 or F32."""
    data: Callable[[], np.ndarray]
    """Makes it when it is written."""


def file_tensor(name: str, state: Mapping[str, Any], source: str, entry: TensorName, config: Mapping[str, Any]
                ) -> FileTensor:
    """Return the tensor `name` of a file, made of the tensor `source` in the state dict of a model with this config."""
    kind = GGMLQuantizationType.F32 if entry.is_vector else GGMLQuantizationType.F16
    return FileTensor(name, tuple(state[source].shape), kind,
                      lambda: quantize(_converted(source, state[source], entry, config), kind))


def write_file(path: Path, architecture: str, keys: Metadata, metadata: Metadata, tensors: Sequence[FileTensor]
               ) -> None:
    """Write a file; it appears once complete, and replaces an older one.

    Args:
        path: the file.
        architecture: GGUF's name of it.
        keys: its values, without its name in their keys.
        metadata: all others, but for the type of the weights.
        tensors: in order.
    """
    with replace_file(Path(path)) as temporary:
        writer = GGUFWriter(temporary, architecture)
        write_metadata(writer, {f"{architecture}.{key}": entry for key, entry in keys.items()})
        writer.add_file_type(LlamaFileType.MOSTLY_F16)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        write_metadata(writer, metadata)
        for name, shape, kind, _ in tensors:
            size = int(np.prod(shape)) * (4 if kind == GGMLQuantizationType.F32 else 2)
            writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor.data())
        writer.close()


def _check_names(architecture: Architecture, state: Mapping[str, Any],
                 config: Mapping[str, Any]) -> list[tuple[str, str, TensorName]]:
    """Return (transformers name, GGUF name, table entry) of every tensor to write."""
    tied = bool(config.get("tie_word_embeddings"))
    expected = list(architecture.expected_tensors(config["num_hidden_layers"], tied))
    known = {hf for hf, _, _ in expected} | ({"lm_head.weight"} if tied else set())
    missing = [hf for hf, _, _ in expected if hf not in state]
    extra = sorted(state.keys() - known)
    if missing or extra:
        raise TslrecError(f"the model lacks {len(missing)} tensors ({', '.join(missing[:3])}) and has {len(extra)} "
                          f"unknown ones ({', '.join(extra[:3])}); merge adapters first, or give another model")
    if tied and "lm_head.weight" in state and not np.array_equal(
            _to_float32(state["lm_head.weight"]), _to_float32(state["model.embed_tokens.weight"])):
        raise TslrecError("the config ties the output layer to the embeddings, but their weights differ; "
                          "set tie_word_embeddings to false")
    return expected


def _check_vocabulary(metadata: Metadata, config: Mapping[str, Any]) -> None:
    tokens = metadata["tokenizer.ggml.tokens"].value
    if len(tokens) != config["vocab_size"]:
        raise TslrecError(f"the tokenizer has {len(tokens)} tokens, the model {config['vocab_size']} embeddings; give "
                          "the tokenizer that belongs to the model")


def _rope_factors(config: Mapping[str, Any]) -> list[FileTensor]:
    """Return the tensor of rope scaling, or nothing for a model without it."""
    if not config["rope_scaling"]:
        return []
    factors = frequency_factors(config["rope_scaling"], config["rope_theta"], config["head_dim"])
    return [FileTensor("rope_freqs.weight", factors.shape, GGMLQuantizationType.F32, lambda: factors)]


def _converted(hf: str, tensor: Any, entry: TensorName, config: Mapping[str, Any]) -> np.ndarray:
    weight = _to_float32(tensor)
    largest = float(max(weight.max(), -weight.min()))  # NaN if any is
    if not np.isfinite(largest):
        raise TslrecError(f"{hf} has values that are not finite; the model diverged: train it again with a lower "
                          "learning rate")
    if largest > _LARGEST and not entry.is_vector:
        raise TslrecError(f"{hf} has the value {largest:.3g}, too large for float16; give another model")
    if entry.rotated_heads:
        weight = to_gguf_rows(weight, config[entry.rotated_heads])
    if entry.offset:
        weight = weight + np.float32(entry.offset)
    return np.ascontiguousarray(weight)


def _to_float32(tensor: Any) -> np.ndarray:
    if isinstance(tensor, np.ndarray):
        return tensor.astype(np.float32, copy=False)
    return tensor.detach().cpu().float().numpy()
