"""Byte-level BPE tokenizers: rebuilt from GGUF metadata, and written to it.

GGUF stores a vocabulary, merges and the *name* of the pre-tokenizer (``tokenizer.ggml.pre``); transformers stores
the pre-tokenizer itself. The table below ties the two; its patterns are those of the models' published
tokenizer.json files. A pre-tokenizer outside the table is refused rather than guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import GGUFValueType, TokenType
from tokenizers import Tokenizer, processors

from ..errors import TslrecError
from .metadata import Metadata, array, count, flag, text

_KEY = "tokenizer.ggml."
_TEXTS_AT_ONCE = 1024


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


@dataclass(frozen=True)
class TextTokenizer:
    """Text to token ids as the model wants them.

    Special tokens that are written out in the text are plain text here: a title can't end the prompt.
    """

    tokenizer: Tokenizer
    bos: tuple[int, ...] = ()
    """Put before every text."""
    eos: tuple[int, ...] = ()
    """Put after every text."""

    def __post_init__(self) -> None:
        """Set the tokenizer up for whole, unpadded texts and exact offsets."""
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return token ids and each token's character span in `text`; BOS and EOS span (0, 0)."""
        return next(self.encode_all_with_offsets([text]))

    def encode_all_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Yield `encode_with_offsets` of every text; many are encoded at once, in the package's own threads."""
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            for encoding in self.tokenizer.encode_batch(list(texts[start:start + _TEXTS_AT_ONCE]),
                                                        add_special_tokens=False):
                yield ([*self.bos, *encoding.ids, *self.eos],
                       [*((0, 0) for _ in self.bos), *encoding.offsets, *((0, 0) for _ in self.eos)])


def tokenizer_from_metadata(metadata: Metadata) -> TextTokenizer:
    """Rebuild the tokenizer of a GGUF file.

    Raises:
        TslrecError: it is not a byte-level BPE with a pre-tokenizer of the table.
    """
    values = {key.removeprefix(_KEY): entry.value for key, entry in metadata.items() if key.startswith(_KEY)}
    pre = PRE_TOKENIZERS.get(values.get("pre", ""))
    if values.get("model") != "gpt2" or pre is None:
        raise TslrecError(f"the tokenizer is {values.get('model')!r} / {values.get('pre')!r}; expected 'gpt2' with "
                          f"one of {', '.join(PRE_TOKENIZERS)}: give the model as a folder of transformers")
    try:
        return _byte_level_bpe(values, pre)
    except Exception as error:  # the package raises bare Exception
        raise TslrecError(f"the file's tokenizer is damaged: {error}; get the file again") from None


def _byte_level_bpe(values: dict[str, Any], pre: PreTokenizer) -> TextTokenizer:
    tokens: list[str] = values["tokens"]
    types = values.get("token_type", [int(TokenType.NORMAL)] * len(tokens))
    added = [{"id": index, "content": tokens[index], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": kind == TokenType.CONTROL}
             for index, kind in enumerate(types) if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)]
    tokenizer = Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": pre.normalizer, "pre_tokenizer": _with_trim(pre.pre_tokenizer), "post_processor": None,
        "decoder": _with_trim(_byte_level(use_regex=True)),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": pre.ignore_merges, "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": values.get("merges", [])},
    }))
    return TextTokenizer(
        tokenizer,
        bos=(values["bos_token_id"],) if values.get("add_bos_token", pre.adds_bos) else (),
        eos=(values["eos_token_id"],) if values.get("add_eos_token", False) else ())


def tokenizer_from_file(path: str) -> tuple[TextTokenizer, dict[str, Any]]:
    """Read a tokenizer.json.

    Returns:
        The tokenizer, with the BOS/EOS policy that its post-processor had, and the parsed file.

    Raises:
        TslrecError: it is missing or damaged, or it adds something else than one BOS and one EOS.
    """
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the package raises bare Exception
        raise TslrecError(f"{path} can't be read as a tokenizer: {error}; save the model again with a fast "
                          "tokenizer, or give a .gguf") from None
    description = json.loads(tokenizer.to_str())
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    for before in (0, 1):
        after = len(whole) - before - len(plain)
        if after in (0, 1) and whole[before: before + len(plain)] == plain:
            return TextTokenizer(tokenizer, tuple(whole[:before]), tuple(whole[len(whole) - after:])), description
    raise TslrecError(f"{path} adds {len(whole) - len(plain)} special tokens around a text; expected at most one "
                      "BOS and one EOS: give another model")


def metadata_from_tokenizer(tokenizer: TextTokenizer, description: dict[str, Any],
                            config: dict[str, Any]) -> Metadata:
    """Return the GGUF metadata of a transformers tokenizer.

    Args:
        tokenizer: gives the BOS/EOS policy.
        description: its parsed tokenizer.json.
        config: the model's config: vocabulary size and the ids of special tokens.

    Raises:
        TslrecError: GGUF can't hold this tokenizer.
    """
    model = description["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise TslrecError(f"the tokenizer is of type {model.get('type')} (byte_fallback: "
                          f"{bool(model.get('byte_fallback'))}); tslrec writes byte-level BPE only: give the model "
                          "as a .gguf")
    tokens, types = _vocabulary(description, config["vocab_size"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    metadata = {
        "model": text("gpt2"), "pre": text(_name_of_pre_tokenizer(description)),
        "tokens": array(tokens, GGUFValueType.STRING), "token_type": array(types, GGUFValueType.INT32),
        "merges": array(merges, GGUFValueType.STRING),
        "add_bos_token": flag(bool(tokenizer.bos)), "add_eos_token": flag(bool(tokenizer.eos)),
        "add_space_prefix": flag(False),
    }
    for key, default, found in (("bos", "bos", tokenizer.bos), ("eos", "eos", tokenizer.eos), ("padding", "pad", ())):
        ids = found or config.get(default + "_token_id")
        if ids is not None:  # some models have several EOS
            metadata[key + "_token_id"] = count(ids if isinstance(ids, int) else ids[0])
    return {_KEY + key: value for key, value in metadata.items()}


def _vocabulary(description: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return the tokens by id and their types; ids that the tokenizer doesn't use are filled up."""
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    entries = [(index, token, TokenType.NORMAL) for token, index in description["model"]["vocab"].items()]
    entries += [(added["id"], added["content"], TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
                for added in description["added_tokens"]]
    for index, token, kind in entries:
        if index >= size:
            raise TslrecError(f"the tokenizer has the token {token!r} with id {index}, the model has {size} "
                              "embeddings; the folder mixes two models: save them together again")
        tokens[index], types[index] = token, int(kind)
    return tokens, types


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
