"""Byte-level BPE vocabularies (GGUF's ``gpt2``), between GGUF metadata and a tokenizer.json.

GGUF stores a vocabulary, merges and the *name* of the pre-tokenizer (``tokenizer.ggml.pre``); transformers stores
the pre-tokenizer itself. The table below ties the two; its patterns are those of the models' published
tokenizer.json files. A pre-tokenizer outside the table is refused rather than guessed.

llama.cpp applies no Unicode normalisation, a tokenizer.json of Qwen does (NFC). So does the one made here, and token
ids are what llama.cpp is given: it reads a decomposed title as the model was trained to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gguf import GGUFValueType

from ...errors import TslrecError
from .metadata import Metadata, array, flag, text


@dataclass(frozen=True)
class PreTokenizer:
    """What surrounds the merges of a byte-level BPE, in the form of a tokenizer.json."""

    pre_tokenizer: dict[str, Any]
    normalizer: dict[str, Any] | None = None
    ignore_merges: bool = False
    """A word that is in the vocabulary as a whole is taken as it is."""
    adds_bos: bool = False
    """What llama.cpp assumes if the file doesn't say."""


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}


def _split_by(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


_WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")

PRE_TOKENIZERS = {
    "smollm": PreTokenizer({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)]}),
    "gpt-2": PreTokenizer(_byte_level(use_regex=True)),
    "llama-bpe": PreTokenizer(_split_by(_WORDS % r"\p{N}{1,3}"), ignore_merges=True, adds_bos=True),
    "qwen2": PreTokenizer(_split_by(_WORDS % r"\p{N}"), normalizer={"type": "NFC"}),
}


def parts_from_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a tokenizer.json other than its added tokens.

    Args:
        values: GGUF's, by key without ``tokenizer.ggml.``.
    """
    pre = PRE_TOKENIZERS[values["pre"]]
    return {
        "normalizer": pre.normalizer, "pre_tokenizer": _with_trim(pre.pre_tokenizer),
        "decoder": _with_trim(_byte_level(use_regex=True)),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": pre.ignore_merges,
                  "vocab": {token: index for index, token in enumerate(values["tokens"])},
                  "merges": values.get("merges", [])},
    }


def values_from_description(description: dict[str, Any]) -> Metadata:
    """Return GGUF's values for a parsed tokenizer.json, other than its tokens.

    Raises:
        TslrecError: its pre-tokenizer isn't in the table.
    """
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in description["model"]["merges"]]
    return {"model": text("gpt2"), "pre": text(_name_of_pre_tokenizer(description)),
            "merges": array(merges, GGUFValueType.STRING), "add_space_prefix": flag(False)}


def _name_of_pre_tokenizer(description: dict[str, Any]) -> str:
    for name, entry in PRE_TOKENIZERS.items():
        if (_without_trim(description["pre_tokenizer"]) == entry.pre_tokenizer
                and description["normalizer"] == entry.normalizer
                and bool(description["model"].get("ignore_merges")) == entry.ignore_merges):
            return name
    raise TslrecError("the tokenizer's pre-tokenizer is none of " + ", ".join(PRE_TOKENIZERS)
                      + f" ({json.dumps(description['pre_tokenizer'])[:200]}); give the model as a .gguf")


def _without_trim(part: Any) -> Any:
    """Drop ``trim_offsets``, which changes offsets after post-processing only, never tokens."""
    if isinstance(part, dict):
        return {key: _without_trim(value) for key, value in part.items() if key != "trim_offsets"}
    return [_without_trim(value) for value in part] if isinstance(part, list) else part


def _with_trim(part: Any) -> Any:
    """Add the ``trim_offsets`` that a serialised ByteLevel must have."""
    if isinstance(part, list):
        return [_with_trim(value) for value in part]
    if not isinstance(part, dict):
        return part
    extended = {key: _with_trim(value) for key, value in part.items()}
    return {**extended, "trim_offsets": True} if part.get("type") == "ByteLevel" else extended
