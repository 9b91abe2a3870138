"""BERT with a WordPiece vocabulary -> GGUF, as llama.cpp's own conversion writes it.

llama.cpp keeps the vocabulary with a mark "▁" (U+2581) before tokens that begin a word, where WordPiece has "##" before
those that continue one. Its tokenizer gives the ids of transformers' but for two kinds of words: words of more than
`max_input_chars_per_word` characters, which are one unknown token in transformers, and words with letters that only
newer versions of Unicode know. Vectors of a folder don't depend on that: its own tokenizer makes the ids.

Position and token-type embeddings stay float32, as in llama.cpp's conversion. llama.cpp approximates GELU by its tanh
form, which changes vectors by less than float16 weights do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFValueType, TokenType

from ...errors import TslrecError
from .metadata import Metadata, array, number, value
from .names import SIZES, ConfigKey, TensorName
from .writer import file_tensor, write_file

ARCHITECTURE = "bert"
_LAYER, _BLOCK = "encoder.layer.{i}.", "blk.{i}."


def _with_bias(hf: str, gguf: str, *, is_vector: bool = False) -> tuple[TensorName, TensorName]:
    return (TensorName(f"{hf}.weight", f"{gguf}.weight", is_vector=is_vector),
            TensorName(f"{hf}.bias", f"{gguf}.bias", is_vector=True))


_TENSORS = (
    TensorName("embeddings.word_embeddings.weight", "token_embd.weight"),
    TensorName("embeddings.position_embeddings.weight", "position_embd.weight", is_vector=True),
    TensorName("embeddings.token_type_embeddings.weight", "token_types.weight", is_vector=True),
    *_with_bias("embeddings.LayerNorm", "token_embd_norm", is_vector=True),
    *_with_bias(_LAYER + "attention.self.query", _BLOCK + "attn_q"),
    *_with_bias(_LAYER + "attention.self.key", _BLOCK + "attn_k"),
    *_with_bias(_LAYER + "attention.self.value", _BLOCK + "attn_v"),
    *_with_bias(_LAYER + "attention.output.dense", _BLOCK + "attn_output"),
    *_with_bias(_LAYER + "attention.output.LayerNorm", _BLOCK + "attn_output_norm", is_vector=True),
    *_with_bias(_LAYER + "intermediate.dense", _BLOCK + "ffn_up"),
    *_with_bias(_LAYER + "output.dense", _BLOCK + "ffn_down"),
    *_with_bias(_LAYER + "output.LayerNorm", _BLOCK + "layer_output_norm", is_vector=True),
)
_KEYS = (*SIZES, ConfigKey("layer_norm_eps", "attention.layer_norm_epsilon", float))
_IMPLIED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
_PIECES = {"type": "WordPiece", "continuing_subword_prefix": "##"}
_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
_SPECIAL = {"cls": "[CLS]", "unknown": "[UNK]", "seperator": "[SEP]", "padding": "[PAD]", "mask": "[MASK]"}
"""GGUF's names, one of them misspelt, -> tokens."""


def write_bert(path: Path, network: Any, description: Mapping[str, Any], *, pooling: int, name: str) -> None:
    """Write a BERT in float16, with norms, biases and small tables in float32.

    Args:
        path: the file to write; it appears once complete, and replaces an older one.
        network: transformers' ``BertModel``; its pooler is left out.
        description: the parsed tokenizer.json.
        pooling: GGUF's number of it.
        name: of the model.

    Raises:
        TslrecError: the model or its tokenizer has something that llama.cpp's ``bert`` can't express, or a weight is
            not finite or too large for float16.
    """
    config, state = network.config.to_dict(), network.state_dict()
    tensors, tokens = _tensors(network), _tokens_metadata(description, config["vocab_size"])
    keys = {key.gguf: number(key.kind(config[key.hf])) for key in _KEYS}
    keys |= {"attention.causal": value(False), "pooling_type": number(pooling)}
    metadata = {"general.name": value(name), "general.type": value("model"), **tokens,
                "tokenizer.ggml.token_type_count": number(config["type_vocab_size"])}
    write_file(path, ARCHITECTURE, keys, metadata,
               [file_tensor(gguf, state, hf, entry, config) for hf, gguf, entry in tensors])


def check_bert(network: Any, description: Mapping[str, Any]) -> None:
    """Raise TslrecError if `write_bert` could not write a model, but for the numbers in its weights."""
    _tensors(network)
    _tokens_metadata(description, network.config.vocab_size)


def _tensors(network: Any) -> list[tuple[str, str, TensorName]]:
    """Return transformers' and GGUF's name of every tensor with its entry; refuse a model that computes otherwise."""
    config, state = network.config.to_dict(), network.state_dict()
    for key, expected in _IMPLIED.items():
        if config.get(key, expected) != expected:
            raise _refused(f"the model has {key} = {config[key]!r}, where llama.cpp computes {expected!r}")
    expected_tensors = [(entry.hf.format(i=layer), entry.gguf.format(i=layer), entry) for entry in _TENSORS
                        for layer in range(config["num_hidden_layers"] if "{i}" in entry.hf else 1)]
    extra = sorted(hf for hf in state.keys() - {hf for hf, _, _ in expected_tensors} if not hf.startswith("pooler."))
    missing = [hf for hf, _, _ in expected_tensors if hf not in state]
    if missing or extra:
        raise _refused(f"the model lacks {len(missing)} tensors ({', '.join(missing[:3])}) and has {len(extra)} "
                       f"unknown ones ({', '.join(extra[:3])})")
    return expected_tensors


def _refused(reason: str) -> TslrecError:
    return TslrecError(f"{reason}; use --engine torch to embed with the model as it is, or give it as a .gguf")


def _tokens_metadata(description: Mapping[str, Any], size: int) -> Metadata:
    """Return GGUF's values for a parsed tokenizer.json and a model of `size` embeddings."""
    model, normalizer = description["model"], description["normalizer"] or {}
    read = [{key: model.get(key) for key in _PIECES}, {key: normalizer.get(key) for key in _NORMALIZER},
            (description["pre_tokenizer"] or {}).get("type")]
    if read != [_PIECES, _NORMALIZER, "BertPreTokenizer"]:
        raise _refused(f"the tokenizer is {read}, where llama.cpp computes BERT's WordPiece")
    special = {added["content"] for added in description["added_tokens"] if added["special"]}
    tokens, types = [f"[PAD{index}]" for index in range(size)], [int(TokenType.UNUSED)] * size
    ids = {**model["vocab"], **{added["content"]: added["id"] for added in description["added_tokens"]}}
    for token, index in ids.items():
        if index >= size:
            raise _refused(f"the tokenizer has the token {token!r} with id {index}, the model has {size} embeddings")
        tokens[index] = token if token in special else token[2:] if token.startswith("##") else "▁" + token
        types[index] = int(TokenType.CONTROL if token in special else TokenType.NORMAL)
    lacking = [token for token in _SPECIAL.values() if token not in ids]
    if lacking:
        raise _refused(f"the tokenizer lacks {', '.join(lacking)}")
    lowercase, strips = bool(normalizer.get("lowercase")), normalizer.get("strip_accents")
    values = {
        "model": value("bert"), "pre": value("default"), "tokens": array(tokens, GGUFValueType.STRING),
        "token_type": array(types, GGUFValueType.INT32), "bos_token_id": number(ids["[CLS]"]),
        **{f"{key}_token_id": number(ids[token]) for key, token in _SPECIAL.items()},
        "normalizer.lowercase": value(lowercase),
        "normalizer.strip_accents": value(lowercase if strips is None else bool(strips))}
    return {f"tokenizer.ggml.{key}": entry for key, entry in values.items()}
