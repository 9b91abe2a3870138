"""llama.cpp's own tokenizer of a .gguf file, whatever its kind."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import llama_cpp

from ...errors import TslrecError
from ..gguf.reader import check_gguf
from ..llama_log import captured_llama_log


class LlamaTokenizer:
    """Text to token ids as the file's metadata say; special tokens written out in a text are plain text."""

    def __init__(self, path: Path) -> None:
        """Load a file's vocabulary, without its weights.

        Raises:
            TslrecError: llama.cpp can't read it; the message holds its last error lines.
        """
        check_gguf(path)
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        llama_cpp.llama_backend_init()
        with captured_llama_log() as log:
            self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise TslrecError(f"llama.cpp can't read the vocabulary of {path}: {log}; the file is damaged or of "
                              "another kind: get or write it again")
        weakref.finalize(self, llama_cpp.llama_model_free, self._model)
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._room = (llama_cpp.llama_token * 512)()
        self.eos = self._ends()

    def encode_all(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Yield the token ids of every text, with those that the model has before and after it."""
        for text in texts:
            yield self._encode(text)

    def _encode(self, text: str, *, special: bool = True) -> list[int]:
        data = text.encode()
        for _ in range(2):
            count = llama_cpp.llama_tokenize(self._vocabulary, data, len(data), self._room, len(self._room), special,
                                             False)
            if count >= 0:
                return self._room[:count]
            self._room = (llama_cpp.llama_token * -count)()
        raise TslrecError(f"llama.cpp can't tokenise {text[:100]!r}; give another model")

    def _ends(self) -> tuple[int, ...]:
        """Return the token ids after a text."""
        plain, whole = self._encode("a", special=False), self._encode("a")
        for before in range(len(whole) - len(plain) + 1):
            if whole[before: before + len(plain)] == plain:
                return tuple(whole[before + len(plain):])
        return ()
