"""The tokenizer of a language model, without the model.

Importing this module loads neither torch nor transformers: embedding with llama.cpp needs no more than this.
"""

from __future__ import annotations

from pathlib import Path

from .gguf.reader import read_metadata
from .gguf.tokenizer import TextTokenizer, tokenizer_from_file, tokenizer_from_metadata
from .resolve import ResolvedModel, resolve_model


def load_tokenizer(spec: str | Path | ResolvedModel) -> TextTokenizer:
    """Load a model's tokenizer without its weights.

    Raises:
        TslrecError: as `load_language_model`.
    """
    resolved = resolve_model(spec)
    if resolved.kind == "gguf":
        return tokenizer_from_metadata(read_metadata(resolved.path))
    return tokenizer_from_file(str(resolved.path / "tokenizer.json"))[0]
