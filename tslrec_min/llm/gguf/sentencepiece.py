"""SentencePiece BPE vocabularies (GGUF's ``llama``: Gemma, Llama 2, TinyLlama), between GGUF and a tokenizer.json.

Both write a space as ``▁`` and a character that has no piece as its bytes. GGUF stores a score for each piece:
llama.cpp joins the two neighbours that make the piece of the highest score. A tokenizer.json stores merges: the
pairs that may be joined, the best first. Scores give the merges as in transformers' converter (every way to cut a
piece in two pieces, ranked by the piece's score); merges give scores back if they are such a list, and others are
refused. The two differ only where the same piece could be made twice of overlapping neighbours. And llama.cpp makes a
token ``</s>`` a control token for its name; what Gemma's files call user-defined (it is HTML there) is so here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gguf import GGUFValueType, TokenType

from ...errors import TslrecError
from .metadata import Metadata, array, count, flag, text

SPACE = "▁"
ADDS_BOS = True  # what llama.cpp assumes if the file doesn't say
_OF_ADDED = -1000.0  # score of what is no piece: the one that llama.cpp's converter gives
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

_PREPEND = {"type": "Prepend", "prepend": SPACE}
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_NO_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
"""Gemma's; it finds nothing, since no space is left."""


def parts_from_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a tokenizer.json other than its added tokens.

    No merge makes a token that is special, user-defined or a byte, so text can't spell one.

    Args:
        values: GGUF's, by key without ``tokenizer.ggml.``.

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
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {token: index for index, token in enumerate(tokens)}, "merges": merges_of(scores)},
    }


def values_from_description(description: dict[str, Any], tokens: Sequence[str], types: Sequence[int]) -> Metadata:
    """Return GGUF's values for a parsed tokenizer.json, and its tokens as GGUF spells them.

    A space before the text is put there as SentencePiece and llama.cpp do it, also where the text begins with
    one; the Metaspace of transformers leaves it out there.

    Args:
        description: the parsed file.
        tokens: by id.
        types: GGUF's `TokenType` of each.

    Raises:
        TslrecError: GGUF can't hold it.
    """
    spelled = [token.replace(SPACE, " ") if kind == TokenType.USER_DEFINED else token
               for token, kind in zip(tokens, types, strict=True)]  # these are found in the text as it is
    kinds = [int(TokenType.BYTE) if token in _BYTES else kind for token, kind in zip(tokens, types, strict=True)]
    pieces = {token for token, kind in zip(spelled, kinds, strict=True) if kind == TokenType.NORMAL}
    scores = _scores(description["model"]["merges"], pieces)
    values = {
        "model": text("llama"), "pre": text("default"), "tokens": array(spelled, GGUFValueType.STRING),
        "scores": array([scores.get(token, _OF_ADDED) for token in spelled], GGUFValueType.FLOAT32),
        "token_type": array(kinds, GGUFValueType.INT32), "add_space_prefix": flag(_adds_space_prefix(description)),
    }
    unknown = description["model"]["unk_token"]
    return {**values, "unknown_token_id": count(tokens.index(unknown))} if unknown in tokens else values


def merges_of(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return every way to make a piece of two, the best piece first, and of one the longest left part first."""
    found = [(score, piece[:cut], piece[cut:]) for piece, score in scores.items() for cut in range(1, len(piece))
             if piece[:cut] in scores and piece[cut:] in scores]
    found.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [(left, right) for _, left, right in found]


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
    # the merges of one piece have been put into several orders by converters
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
