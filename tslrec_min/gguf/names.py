"""Tensor names and configuration keys: transformers <-> GGUF, one table per architecture for both directions.

GGUF's side follows the format's specification (ggml's docs/gguf.md) and the ``gguf`` package's constants. In the
architecture ``llama`` the rows of the query and key projections are stored in another order, because llama.cpp
rotates neighbouring pairs of values where transformers rotates the two halves of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import TslrecError


@dataclass(frozen=True)
class TensorName:
    """One kind of tensor; ``{i}`` in a name stands for the layer."""

    hf: str
    gguf: str
    rotated_heads: str | None = None
    """The config key that counts the heads, where the rows are reordered for the rotary embedding."""
    is_norm: bool = False
    """Norms stay float32 in every file: llama.cpp's kernels want them so, and they are small."""
    if_untied: bool = False
    """Present only if the output layer has its own weights."""


@dataclass(frozen=True)
class ConfigKey:
    """One number of the configuration."""

    hf: str
    gguf: str
    """Without the architecture's prefix."""
    kind: type = int


@dataclass(frozen=True)
class Architecture:
    """What is needed to convert a family of models."""

    model_type: str
    """The name in a transformers config."""
    network: str
    """The class in transformers."""
    tensors: tuple[TensorName, ...]
    keys: tuple[ConfigKey, ...]
    fixed: Mapping[str, Any]
    """Config values that the GGUF architecture implies: a model with others can't be converted."""

    def expected_tensors(self, layers: int, tied: bool) -> Iterator[tuple[str, str, TensorName]]:
        """Yield (transformers name, GGUF name, entry of the table) of every tensor of a model."""
        for entry in self.tensors:
            if entry.if_untied and tied:
                continue
            for layer in range(layers if "{i}" in entry.hf else 1):
                yield entry.hf.format(i=layer), entry.gguf.format(i=layer), entry


_LAYER, _BLOCK = "model.layers.{i}.", "blk.{i}."

ARCHITECTURES = {  # GGUF's name of the architecture -> its table
    "llama": Architecture(
        model_type="llama",
        network="LlamaForCausalLM",
        tensors=(
            TensorName("model.embed_tokens.weight", "token_embd.weight"),
            TensorName(_LAYER + "input_layernorm.weight", _BLOCK + "attn_norm.weight", is_norm=True),
            TensorName(_LAYER + "self_attn.q_proj.weight", _BLOCK + "attn_q.weight", "num_attention_heads"),
            TensorName(_LAYER + "self_attn.k_proj.weight", _BLOCK + "attn_k.weight", "num_key_value_heads"),
            TensorName(_LAYER + "self_attn.v_proj.weight", _BLOCK + "attn_v.weight"),
            TensorName(_LAYER + "self_attn.o_proj.weight", _BLOCK + "attn_output.weight"),
            TensorName(_LAYER + "post_attention_layernorm.weight", _BLOCK + "ffn_norm.weight", is_norm=True),
            TensorName(_LAYER + "mlp.gate_proj.weight", _BLOCK + "ffn_gate.weight"),
            TensorName(_LAYER + "mlp.up_proj.weight", _BLOCK + "ffn_up.weight"),
            TensorName(_LAYER + "mlp.down_proj.weight", _BLOCK + "ffn_down.weight"),
            TensorName("model.norm.weight", "output_norm.weight", is_norm=True),
            TensorName("lm_head.weight", "output.weight", if_untied=True),
        ),
        keys=(
            ConfigKey("vocab_size", "vocab_size"),
            ConfigKey("max_position_embeddings", "context_length"),
            ConfigKey("hidden_size", "embedding_length"),
            ConfigKey("num_hidden_layers", "block_count"),
            ConfigKey("intermediate_size", "feed_forward_length"),
            ConfigKey("num_attention_heads", "attention.head_count"),
            ConfigKey("num_key_value_heads", "attention.head_count_kv"),
            ConfigKey("head_dim", "rope.dimension_count"),
            ConfigKey("head_dim", "attention.key_length"),
            ConfigKey("head_dim", "attention.value_length"),
            ConfigKey("rms_norm_eps", "attention.layer_norm_rms_epsilon", float),
            ConfigKey("rope_theta", "rope.freq_base", float),
        ),
        fixed={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    ),
}


def architecture_of_config(config: Mapping[str, Any]) -> str:
    """Return GGUF's name of the architecture of a transformers config.

    Raises:
        TslrecError: it is not in the table.
    """
    for name, architecture in ARCHITECTURES.items():
        if architecture.model_type == config.get("model_type"):
            return name
    raise TslrecError(f"the model is of type {config.get('model_type')!r}; expected one of "
                      f"{', '.join(entry.model_type for entry in ARCHITECTURES.values())}: give another model")


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a transformers config with the values of its architecture's keys filled in and checked.

    ``rope_theta`` is at the top level in the result; transformers 5 keeps it within ``rope_parameters``.

    Raises:
        TslrecError: the model has something that can't be written to GGUF, such as rope scaling.
    """
    architecture = ARCHITECTURES[architecture_of_config(config)]
    plain = dict(config)
    rope = plain.pop("rope_parameters", None) or plain.pop("rope_scaling", None) or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        raise TslrecError(f"the model scales its rotary embedding ({rope_type!r}), which tslrec does not convert; "
                          "give a model without rope scaling")
    plain["rope_theta"] = rope.get("rope_theta", plain.get("rope_theta")) or 10000.0
    plain["num_key_value_heads"] = plain.get("num_key_value_heads") or plain["num_attention_heads"]
    plain["head_dim"] = plain.get("head_dim") or plain["hidden_size"] // plain["num_attention_heads"]
    for key, expected in architecture.fixed.items():
        if plain.get(key, expected) != expected:
            raise TslrecError(f"the model has {key} = {plain[key]!r}; tslrec converts only {key} = {expected!r}: "
                              "give another model")
    return plain


def to_gguf_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of a query or key projection from transformers' halves to llama.cpp's pairs.

    Args:
        weight: [heads * head_dim, width].
        heads: number of heads.
    """
    rows, width = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, width)
    return halves.swapaxes(1, 2).reshape(rows, width)  # [heads * head_dim, width]


def to_hf_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo `to_gguf_rows`."""
    rows, width = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)  # [heads * head_dim, width]
