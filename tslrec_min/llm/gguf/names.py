"""Tensor names and configuration keys: transformers <-> GGUF, one table per architecture for both directions.

GGUF's side follows the format's specification (ggml's docs/gguf.md), the ``gguf`` package's constants and, where these
say nothing, llama.cpp's code. Three things differ beside the names:

- In ``llama`` the rows of the query and key projections are stored in another order, because llama.cpp rotates
  neighbouring pairs of values where transformers rotates the two halves of a head. The other architectures rotate
  halves in llama.cpp too.
- The norms of ``gemma3`` multiply by 1 + weight in transformers; GGUF stores that sum. It is taken in float32, as in
  transformers' forward pass, so both formats compute with the same bits. GGUF -> transformers -> GGUF gives the same
  bits for every stored value that is 1 + w of some float32 w (all values from 0.5 to 2^24, and all that a conversion
  wrote); other values change by at most 2^-25. transformers -> GGUF -> transformers changes a weight by at most the
  rounding of 1 + weight. Everything else is exact both ways in float32.
- Llama 3's rope scaling is four numbers in transformers and a tensor in GGUF: see `rope`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import TslrecError
from .rope import LLAMA3_KEYS


@dataclass(frozen=True)
class TensorName:
    """One kind of tensor; ``{i}`` in a name stands for the layer."""

    hf: str
    gguf: str
    rotated_heads: str | None = None
    """The config key for the number of heads, if the rows are reordered for the rotary embedding."""
    is_vector: bool = False
    """Norms and biases stay float32 in every file: llama.cpp's kernels need that, and they are small."""
    offset: float = 0.0
    """GGUF stores the weight plus this."""
    if_untied: bool = False
    """Only there if the output layer has its own weights."""


@dataclass(frozen=True)
class ConfigKey:
    """One number of the configuration."""

    hf: str
    gguf: str
    """Without the architecture's prefix."""
    kind: type = int


@dataclass(frozen=True)
class Architecture:
    """A family of models."""

    model_type: str
    """The name in a transformers config."""
    network: str
    """The class in transformers."""
    tensors: tuple[TensorName, ...]
    keys: tuple[ConfigKey, ...]
    fixed: Mapping[str, Any]
    """Config values that the GGUF architecture implies: a model with others can't be converted."""
    derived: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    """As `fixed`, for values that follow from the rest of the config."""
    scales_rope: bool = False
    """Whether llama.cpp applies ``rope_freqs.weight``."""

    def expected_tensors(self, layers: int, tied: bool) -> Iterator[tuple[str, str, TensorName]]:
        """Yield (transformers name, GGUF name, entry of the table) of every tensor of a model."""
        for entry in self.tensors:
            if entry.if_untied and tied:
                continue
            for layer in range(layers if "{i}" in entry.hf else 1):
                yield entry.hf.format(i=layer), entry.gguf.format(i=layer), entry


_LAYER, _BLOCK = "model.layers.{i}.", "blk.{i}."


def _norm(hf: str, gguf: str, offset: float = 0.0) -> TensorName:
    return TensorName(hf + ".weight", gguf + ".weight", is_vector=True, offset=offset)


def _query_and_key(*, reordered: bool) -> tuple[TensorName, ...]:
    heads = ("num_attention_heads", "num_key_value_heads") if reordered else (None, None)
    return (TensorName(_LAYER + "self_attn.q_proj.weight", _BLOCK + "attn_q.weight", heads[0]),
            TensorName(_LAYER + "self_attn.k_proj.weight", _BLOCK + "attn_k.weight", heads[1]))


def _head_norms(offset: float = 0.0) -> tuple[TensorName, ...]:
    return (_norm(_LAYER + "self_attn.q_norm", _BLOCK + "attn_q_norm", offset),
            _norm(_LAYER + "self_attn.k_norm", _BLOCK + "attn_k_norm", offset))


_SHARED_TENSORS = (
    TensorName("model.embed_tokens.weight", "token_embd.weight"),
    TensorName(_LAYER + "self_attn.v_proj.weight", _BLOCK + "attn_v.weight"),
    TensorName(_LAYER + "self_attn.o_proj.weight", _BLOCK + "attn_output.weight"),
    TensorName(_LAYER + "mlp.gate_proj.weight", _BLOCK + "ffn_gate.weight"),
    TensorName(_LAYER + "mlp.up_proj.weight", _BLOCK + "ffn_up.weight"),
    TensorName(_LAYER + "mlp.down_proj.weight", _BLOCK + "ffn_down.weight"),
    TensorName("lm_head.weight", "output.weight", if_untied=True),
)
_TWO_NORMS = (
    _norm(_LAYER + "input_layernorm", _BLOCK + "attn_norm"),
    _norm(_LAYER + "post_attention_layernorm", _BLOCK + "ffn_norm"),
    _norm("model.norm", "output_norm"),
)
_FOUR_NORMS = (  # post_attention_layernorm means something else than above
    _norm(_LAYER + "input_layernorm", _BLOCK + "attn_norm", 1.0),
    _norm(_LAYER + "post_attention_layernorm", _BLOCK + "post_attention_norm", 1.0),
    _norm(_LAYER + "pre_feedforward_layernorm", _BLOCK + "ffn_norm", 1.0),
    _norm(_LAYER + "post_feedforward_layernorm", _BLOCK + "post_ffw_norm", 1.0),
    _norm("model.norm", "output_norm", 1.0),
)
SIZES = (
    ConfigKey("vocab_size", "vocab_size"),
    ConfigKey("max_position_embeddings", "context_length"),
    ConfigKey("hidden_size", "embedding_length"),
    ConfigKey("num_hidden_layers", "block_count"),
    ConfigKey("intermediate_size", "feed_forward_length"),
    ConfigKey("num_attention_heads", "attention.head_count"),
)
"""Keys of all transformers."""
_KEYS = (
    *SIZES,
    ConfigKey("num_key_value_heads", "attention.head_count_kv"),
    ConfigKey("head_dim", "rope.dimension_count"),
    ConfigKey("head_dim", "attention.key_length"),
    ConfigKey("head_dim", "attention.value_length"),
    ConfigKey("rms_norm_eps", "attention.layer_norm_rms_epsilon", float),
    ConfigKey("rope_theta", "rope.freq_base", float),
)


def layers_by_period(layers: int, period: int) -> list[str]:
    """Return transformers' ``layer_types`` where every `period`-th layer attends to all tokens."""
    return ["sliding_attention" if (layer + 1) % period else "full_attention" for layer in range(layers)]


def _full_attention_every(period: int) -> Callable[[Mapping[str, Any]], list[str]]:
    return lambda config: layers_by_period(config["num_hidden_layers"], period)


def _gemma3_scale(config: Mapping[str, Any]) -> int:
    """Return the number whose root llama.cpp divides by: GGUF has no key for it, and 62 layers mean the 27B model."""
    is_27b = config["num_hidden_layers"] == 62
    return config["hidden_size"] // config["num_attention_heads"] if is_27b else config["head_dim"]


ARCHITECTURES = {  # GGUF's name of the architecture -> its table
    "llama": Architecture(
        model_type="llama", network="LlamaForCausalLM", keys=_KEYS,
        tensors=(*_SHARED_TENSORS, *_TWO_NORMS, *_query_and_key(reordered=True)),
        fixed={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
        scales_rope=True,
    ),
    "qwen2": Architecture(
        model_type="qwen2", network="Qwen2ForCausalLM", keys=_KEYS,
        tensors=(*_SHARED_TENSORS, *_TWO_NORMS, *_query_and_key(reordered=False), *(
            TensorName(f"{_LAYER}self_attn.{part}_proj.bias", f"{_BLOCK}attn_{part}.bias", is_vector=True)
            for part in "qkv")),
        fixed={"hidden_act": "silu", "use_sliding_window": False},
        derived={"layer_types": _full_attention_every(1)},
    ),
    "qwen3": Architecture(
        model_type="qwen3", network="Qwen3ForCausalLM", keys=_KEYS,
        tensors=(*_SHARED_TENSORS, *_TWO_NORMS, *_query_and_key(reordered=False), *_head_norms()),
        fixed={"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False},
        derived={"layer_types": _full_attention_every(1)},
    ),
    "gemma3": Architecture(
        model_type="gemma3_text", network="Gemma3ForCausalLM",
        keys=(*_KEYS, ConfigKey("sliding_window", "attention.sliding_window"),
              ConfigKey("rope_local_base_freq", "rope.freq_base_swa", float)),
        tensors=(*_SHARED_TENSORS, *_FOUR_NORMS, *_query_and_key(reordered=False), *_head_norms(1.0)),
        fixed={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False, "attn_logit_softcapping": None,
               "final_logit_softcapping": None, "use_bidirectional_attention": False,
               "rope_local_base_freq": 10000.0},  # older versions of llama.cpp don't read its key
        derived={"layer_types": _full_attention_every(6), "query_pre_attn_scalar": _gemma3_scale},
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

    In the result ``rope_theta`` (with gemma3 also ``rope_local_base_freq``) is at the top level, and ``rope_scaling``
    holds the numbers of `rope.LLAMA3_KEYS` or is None; transformers 5 keeps them within ``rope_parameters``, for gemma3
    by type of layer.

    Raises:
        TslrecError: the model can't be written to GGUF, because of another type of rope scaling, say.
    """
    architecture = ARCHITECTURES[architecture_of_config(config)]
    plain = dict(config)
    scaling = plain.pop("rope_scaling", None)
    rope = plain.pop("rope_parameters", None) or scaling or {}
    if "full_attention" in rope:
        local, rope = rope.get("sliding_attention") or {}, rope["full_attention"]
        _scaling(local, scales=False)
        plain["rope_local_base_freq"] = local.get("rope_theta", plain.get("rope_local_base_freq"))
    plain["rope_scaling"] = _scaling(rope, architecture.scales_rope)
    plain["rope_theta"] = rope.get("rope_theta", plain.get("rope_theta")) or 10000.0
    plain["num_key_value_heads"] = plain.get("num_key_value_heads") or plain["num_attention_heads"]
    plain["head_dim"] = plain.get("head_dim") or plain["hidden_size"] // plain["num_attention_heads"]
    implied = {**architecture.fixed, **{key: rule(plain) for key, rule in architecture.derived.items()}}
    for key, expected in implied.items():
        if plain.get(key, expected) != expected:
            raise TslrecError(f"the model has {key} = {plain[key]!r}; tslrec converts only {key} = {expected!r}: "
                              "give another model")
    return plain


def _scaling(rope: Mapping[str, Any], scales: bool) -> dict[str, float] | None:
    """Return Llama 3's numbers, or None without scaling; `scales` says whether the architecture knows them."""
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise TslrecError(f"the model has partial_rotary_factor = {rope['partial_rotary_factor']!r}; tslrec converts "
                          "only partial_rotary_factor = 1.0: give another model")
    if rope_type == "default":
        return None
    if rope_type != "llama3" or not scales:
        raise TslrecError(f"the model scales its rotary embedding ({rope_type!r}), which tslrec does not convert; "
                          "give a model without rope scaling")
    lacking = [key for key in LLAMA3_KEYS if not rope.get(key)]
    if lacking:
        raise TslrecError(f"the model scales its rotary embedding as Llama 3 does, but lacks {', '.join(lacking)}; "
                          "get its config.json again")
    return {key: rope[key] for key in LLAMA3_KEYS}


def to_gguf_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of a query or key projection, [heads * head_dim, width], from transformers' halves to pairs."""
    rows, width = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, width)
    return halves.swapaxes(1, 2).reshape(rows, width)  # [heads * head_dim, width]


def to_hf_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo `to_gguf_rows`; `weight` is float [heads * head_dim, width]."""
    rows, width = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)  # [heads * head_dim, width]
