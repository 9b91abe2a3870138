"""Tokenizers: rebuilt from GGUF metadata, read from a tokenizer.json, and written to GGUF metadata.

Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFValueType, TokenType
from tokenizers import Tokenizer, processors

from ...errors import TslrecError
from ..resolve import ResolvedModel, resolve_model
from . import byte_level, sentencepiece
from .metadata import Metadata, array, value
from .reader import read_metadata

_KEY = "tokenizer.ggml."
_TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class TextTokenizer:
    """Text to token ids as the model wants them.

    Special tokens written out in a text are plain text here: a title can't end the prompt.
    """

    tokenizer: Tokenizer
    bos: tuple[int, ...] = ()
    """Token ids added before every text."""
    eos: tuple[int, ...] = ()
    """Token ids added after every text."""

    def __post_init__(self) -> None:
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)

    def encode_all(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Yield the token ids of every text, with BOS and EOS."""
        for ids, _ in self.encode_all_with_offsets(texts):
            yield ids

    def encode_all_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """Yield the token ids of every text and the character span of each token; the package encodes in threads.

        The spans cover the whole text in order. Each token that is a byte of a character has the span of the character,
        as has a space that the tokenizer adds before it; BOS and EOS have (0, 0).
        """
        for at in range(0, len(texts), _TEXTS_AT_ONCE):
            part = list(texts[at:at + _TEXTS_AT_ONCE])
            for text, encoding in zip(part, self.tokenizer.encode_batch(part, add_special_tokens=False), strict=True):
                # a mark that NFC composes with the character before it is in no span of the encoding
                offsets = encoding.offsets
                next_starts = [*(start for start, _ in offsets[1:]), len(text)]
                spans = [(start, max(stop, next_start))
                         for (start, stop), next_start in zip(offsets, next_starts, strict=False)]
                yield ([*self.bos, *encoding.ids, *self.eos],
                       [*((0, 0) for _ in self.bos), *spans, *((0, 0) for _ in self.eos)])


def load_tokenizer(spec: str | Path | ResolvedModel) -> TextTokenizer:
    """Load a model's tokenizer without its weights.

    Raises:
        TslrecError: as `load_language_model`.
    """
    model = resolve_model(spec)
    if model.kind == "gguf":
        return tokenizer_from_metadata(read_metadata(model.path))
    return tokenizer_from_file(str(model.path / "tokenizer.json"))[0]


def tokenizer_from_metadata(metadata: Metadata) -> TextTokenizer:
    """Rebuild the tokenizer of a GGUF file.

    Raises:
        TslrecError: it is neither a SentencePiece BPE nor a byte-level BPE with a known pre-tokenizer.
    """
    values = {key.removeprefix(_KEY): entry.value for key, entry in metadata.items() if key.startswith(_KEY)}
    model, pre = values.get("model"), values.get("pre", "")
    if model != "llama" and (model != "gpt2" or pre not in byte_level.PRE_TOKENIZERS):
        raise TslrecError(f"the tokenizer is {model!r} / {pre!r}; expected 'llama', or 'gpt2' with one of "
                          f"{', '.join(byte_level.PRE_TOKENIZERS)}: give the model as a folder of transformers")
    adds_bos = sentencepiece.ADDS_BOS if model == "llama" else byte_level.PRE_TOKENIZERS[pre].adds_bos
    try:
        added = [values[f"{end}_token_id"] if values.get(f"add_{end}_token", default) else None
                 for end, default in (("bos", adds_bos), ("eos", False))]
        if not all(token is None or (type(token) is int and 0 <= token < len(values["tokens"])) for token in added):
            raise ValueError(f"BOS and EOS are {added}; expected None or at most {len(values['tokens']) - 1}")
        bos, eos = (() if token is None else (token,) for token in added)
        return TextTokenizer(_tokenizer_from_values(values), bos, eos)
    except TslrecError:
        raise
    except Exception as error:  # the package raises bare Exception
        raise TslrecError(f"the file's tokenizer is damaged: {error}; get the file again") from None


def _tokenizer_from_values(values: Mapping[str, Any]) -> Tokenizer:
    tokens, form = values["tokens"], sentencepiece if values["model"] == "llama" else byte_level
    types = values.get("token_type", [int(TokenType.NORMAL)] * len(tokens))
    added = [{"id": index, "content": tokens[index], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": kind == TokenType.CONTROL}
             for index, kind in enumerate(types) if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)]
    return Tokenizer.from_str(json.dumps({
        "added_tokens": added, **form.parts_from_values({**values, "token_type": types})}))


def tokenizer_from_file(path: str) -> tuple[TextTokenizer, dict[str, Any]]:
    """Read a tokenizer.json.

    Returns:
        The tokenizer, with the BOS/EOS policy of its post-processor, and the parsed file.

    Raises:
        TslrecError: it is missing or damaged, it adds more than one BOS and one EOS, or it has byte fallback and is
            not a SentencePiece BPE.
    """
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the package raises bare Exception
        raise TslrecError(f"{path} can't be read as a tokenizer: {error}; save the model again with a fast "
                          "tokenizer, or give a .gguf") from None
    vocabulary = tokenizer.get_vocab()
    last = max(vocabulary.values(), default=0)
    if last > 2 * len(vocabulary):  # the package would count up to it
        raise TslrecError(f"{path} numbers a token {last} and has {len(vocabulary)} tokens: it can't be read as a "
                          "tokenizer; get or save the model again")
    tokenizer.no_padding()  # a saved setting would count as special tokens
    tokenizer.no_truncation()
    description = json.loads(tokenizer.to_str())
    bos, eos = _ends(tokenizer, path)
    if _is_sentencepiece(description):
        # as a GGUF file gives it back: the merges of the file's own could spell a special token in a title
        values = _values_from_description(description, 1 + last)
        tokenizer = _tokenizer_from_values({key: entry.value for key, entry in values.items()})
    return TextTokenizer(tokenizer, bos, eos), description


def _ends(tokenizer: Tokenizer, path: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the token ids that a tokenizer adds before and after a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    for before in (0, 1):
        after = len(whole) - before - len(plain)
        if after in (0, 1) and whole[before: before + len(plain)] == plain:
            return tuple(whole[:before]), tuple(whole[len(whole) - after:])
    raise TslrecError(f"{path} adds {len(whole) - len(plain)} special tokens around a text; expected at most one "
                      "BOS and one EOS: give another model")


def metadata_from_tokenizer(tokenizer: TextTokenizer, description: dict[str, Any],
                            config: dict[str, Any]) -> Metadata:
    """Return the GGUF metadata of a tokenizer with the parsed tokenizer.json `description`, for a model's config.

    Raises:
        TslrecError: GGUF can't hold this tokenizer.
    """
    metadata = {
        **_values_from_description(description, config["vocab_size"]),
        "add_bos_token": value(bool(tokenizer.bos)), "add_eos_token": value(bool(tokenizer.eos)),
    }
    for key, name, own in (("bos", "bos", tokenizer.bos), ("eos", "eos", tokenizer.eos), ("padding", "pad", ())):
        ids = own or config.get(name + "_token_id")
        if ids is not None:  # some models have several EOS
            metadata[key + "_token_id"] = value(ids if isinstance(ids, int) else ids[0])
    return {_KEY + key: entry for key, entry in metadata.items()}


def _is_sentencepiece(description: dict[str, Any]) -> bool:
    return description["model"]["type"] == "BPE" and bool(description["model"]["byte_fallback"])


def _values_from_description(description: dict[str, Any], size: int) -> Metadata:
    """Return GGUF's values for a parsed tokenizer.json with `size` tokens, other than its BOS and EOS."""
    if description["model"]["type"] != "BPE":
        raise TslrecError(f"the tokenizer is of type {description['model']['type']}; tslrec writes BPE only: give "
                          "the model as a .gguf")
    tokens, types = _vocabulary(description, size)
    if _is_sentencepiece(description):
        return sentencepiece.values_from_description(description, tokens, types)
    return {**byte_level.values_from_description(description), "tokens": array(tokens, GGUFValueType.STRING),
            "token_type": array(types, GGUFValueType.INT32)}


def _vocabulary(description: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return the tokens by id and their types; unused ids get placeholders."""
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
