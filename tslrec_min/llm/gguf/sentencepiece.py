"""SentencePiece BPE vocabularies (GGUF's ``llama``: Gemma, Llama 2, TinyLlama), between GGUF and a tokenizer.json.

Both write a space as ``▁`` and a character without a piece as its bytes. GGUF stores a score for each piece: llama.cpp
joins the two neighbours that make the piece of the highest score. A tokenizer.json stores merges: the pairs that may be
joined, the best first. Scores give merges as in transformers' converter: every way to cut a piece in two pieces, ranked
by the score of the piece. Merges give scores if they are such a list; others are refused. The two differ only where
overlapping neighbours could make the same piece twice. llama.cpp takes any token named ``</s>`` for a control token;
here it is user-defined if the file says so: in Gemma's it is an HTML tag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gguf import GGUFValueType, TokenType

from ...errors import TslrecError
from .metadata import Metadata, array, value

SPACE = "▁"
ADDS_BOS = True  # llama.cpp's default if the file doesn't say
_OF_ADDED = -1000.0  # the score that llama.cpp's converter gives to tokens that are not pieces
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

_PREPEND = {"type": "Prepend", "prepend": SPACE}
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_NO_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
"""Gemma's pre-tokenizer; it changes nothing, since no space is left."""


def parts_from_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a tokenizer.json for GGUF's values; see `byte_level.parts_from_values`.

    No merge makes a special token, a user-defined one or a byte, so text can't spell one.

    Raises:
        TslrecError: there is no token for some byte.
    """
    tokens, types, prefix = values["tokens"], values["token_type"], values.get("add_space_prefix", True)
    lacking = set(_BYTES).difference(tokens)
    if lacking:
        raise TslrecError(f"the tokenizer has no token for {len(lacking)} bytes, {min(lacking)} among them, and can't "
                          "read every title; give another model")
    scores = {token: score for token, kind, score in zip(tokens, types, values["scores"], strict=True)
              if kind == TokenType.NORMAL}
    decoders: list[dict[str, Any]] = [{**_REPLACE, "pattern": {"String": SPACE}, "content": " "},
                                      {"type": "ByteFallback"}, {"type": "Fuse"}]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [_PREPEND, _REPLACE] if prefix else [_REPLACE]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [
            *decoders, *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else [])]},
        "model": {"type": "BPE", "fuse_unk": True, "byte_fallback": True, "merges": merges_of(scores),
                  "vocab": {token: index for index, token in enumerate(tokens)}},
    }


def values_from_description(description: dict[str, Any], tokens: Sequence[str], types: Sequence[int]) -> Metadata:
    """Return GGUF's values for a parsed tokenizer.json whose tokens have these texts and GGUF types by id.

    The space before the text is added as in SentencePiece and llama.cpp, even if the text begins with a space;
    transformers' Metaspace leaves it out there.

    Raises:
        TslrecError: GGUF can't hold the tokenizer.
    """
    spelled = [token.replace(SPACE, " ") if kind == TokenType.USER_DEFINED else token
               for token, kind in zip(tokens, types, strict=True)]  # user-defined tokens are matched as written
    kinds = [int(TokenType.BYTE) if token in _BYTES else kind for token, kind in zip(tokens, types, strict=True)]
    pieces = {token for token, kind in zip(spelled, kinds, strict=True) if kind == TokenType.NORMAL}
    scores = _scores(description["model"]["merges"], pieces)
    values = {
        "model": value("llama"), "pre": value("default"), "tokens": array(spelled, GGUFValueType.STRING),
        "scores": array([scores.get(token, _OF_ADDED) for token in spelled], GGUFValueType.FLOAT32),
        "token_type": array(kinds, GGUFValueType.INT32), "add_space_prefix": value(_adds_space_prefix(description)),
    }
    unknown = description["model"]["unk_token"]
    return {**values, "unknown_token_id": value(tokens.index(unknown))} if unknown in tokens else values


def merges_of(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return every way to make a piece of two, the best piece first; for one piece, the longest left part first."""
    ranked = [(score, piece[:cut], piece[cut:]) for piece, score in scores.items() for cut in range(1, len(piece))
              if piece[:cut] in scores and piece[cut:] in scores]
    ranked.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [(left, right) for _, left, right in ranked]


def _scores(merges: Sequence[Any], pieces: set[str]) -> dict[str, float]:
    """Return scores that give these merges: 0 for the first piece made, lower for later ones.

    Pieces whose merges are mixed share a score, as runs of spaces do in Llama 2.
    """
    pairs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]
    pairs = [(left, right) for left, right in pairs if {left, right, left + right} <= pieces]
    made = [left + right for left, right in pairs]
    last = {piece: rank for rank, piece in enumerate(made)}
    scores, score, stop = dict.fromkeys(pieces, -float(len(made))), 0.0, 0
    for rank, piece in enumerate(made):
        if rank > stop:
            score = -float(rank)
        stop = max(stop, last[piece])
        scores[piece] = score
    derived = merges_of(scores)
    # converters order the merges of one piece differently
    if made != [left + right for left, right in derived] or set(pairs) != set(derived):
        raise TslrecError(f"the tokenizer's {len(pairs)} merges are not those of a SentencePiece vocabulary, which "
                          f"has {len(derived)} for its pieces; give the model as a .gguf")
    return scores


def _adds_space_prefix(description: dict[str, Any]) -> bool:
    normalizer, pre_tokenizer = description["normalizer"], description["pre_tokenizer"]
    steps = normalizer["normalizers"] if normalizer and normalizer["type"] == "Sequence" else [normalizer]
    if pre_tokenizer in (None, _NO_SPLIT):
        if steps in ([_REPLACE], [_PREPEND, _REPLACE]):
            return len(steps) == 2
    elif normalizer is None and {**pre_tokenizer, "prepend_scheme": None} == {
            "type": "Metaspace", "replacement": SPACE, "prepend_scheme": None, "split": False}:
        return pre_tokenizer["prepend_scheme"] != "never"
    raise TslrecError("the tokenizer treats spaces in a way that GGUF doesn't know ("
                      f"{json.dumps([normalizer, pre_tokenizer], ensure_ascii=False)[:200]}); give the model as a "
                      ".gguf")
