"""Byte-level BPE vocabularies (GGUF's ``gpt2``), between GGUF metadata and a tokenizer.json.

GGUF stores a vocabulary, merges and the *name* of the pre-tokenizer (``tokenizer.ggml.pre``); transformers stores the
pre-tokenizer itself. The table below maps one to the other; its patterns are those of the models' published
tokenizer.json files. A pre-tokenizer outside the table is refused.

Qwen's tokenizer.json applies Unicode normalisation (NFC), llama.cpp does not. The tokenizer made here applies it, and
llama.cpp is given token ids: it reads a decomposed title as the model was trained to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gguf import GGUFValueType

from ...errors import TslrecError
from .metadata import Metadata, array, value


@dataclass(frozen=True)
class PreTokenizer:
    """The parts of a byte-level BPE beside its merges, as in a tokenizer.json."""

    pre_tokenizer: dict[str, Any]
    normalizer: dict[str, Any] | None = None
    ignore_merges: bool = False
    """A word that is in the vocabulary as a whole is one token."""
    adds_bos: bool = False
    """llama.cpp's default if the file doesn't say."""


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


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
    """Return the parts of a tokenizer.json but its added tokens, for GGUF's values by key after ``tokenizer.ggml.``."""
    pre = PRE_TOKENIZERS[values["pre"]]
    return {
        "normalizer": pre.normalizer, "pre_tokenizer": pre.pre_tokenizer, "decoder": _byte_level(use_regex=True),
        "model": {"type": "BPE", "ignore_merges": pre.ignore_merges, "merges": values.get("merges", []),
                  "vocab": {token: index for index, token in enumerate(values["tokens"])}},
    }


def values_from_description(description: dict[str, Any]) -> Metadata:
    """Return GGUF's values for a parsed tokenizer.json, other than its tokens.

    Raises:
        TslrecError: its pre-tokenizer isn't in the table.
    """
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in description["model"]["merges"]]
    # trim_offsets changes offsets after post-processing only, never tokens
    stored = json.dumps(description["pre_tokenizer"]).replace('"trim_offsets": false', '"trim_offsets": true')
    for name, entry in PRE_TOKENIZERS.items():
        if (json.loads(stored) == entry.pre_tokenizer and description["normalizer"] == entry.normalizer
                and bool(description["model"].get("ignore_merges")) == entry.ignore_merges):
            return {"model": value("gpt2"), "pre": value(name), "merges": array(merges, GGUFValueType.STRING),
                    "add_space_prefix": value(False)}
    raise TslrecError(f"the tokenizer's pre-tokenizer is {stored[:200]}; expected one of "
                      f"{', '.join(PRE_TOKENIZERS)}: give the model as a .gguf")
