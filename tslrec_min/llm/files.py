"""What is read of a language model without loading it: its hash, its tokenizer, what fine-tuning left of it.

Importing this module loads neither torch nor transformers: embedding with llama.cpp needs no more than this.
"""

from __future__ import annotations

from pathlib import Path

from ..storage.artifacts import sha256_of_file, sha256_of_json
from .gguf.reader import read_metadata
from .gguf.tokenizer import TextTokenizer, tokenizer_from_file, tokenizer_from_metadata
from .resolve import resolve_model


def model_hash(spec: str | Path) -> str:
    """Return the hash that `LanguageModel.source_hash` would have, without loading the weights."""
    resolved = resolve_model(spec)
    return sha256_of_file(resolved.path) if resolved.kind == "gguf" else hash_of_folder(resolved.path)


def hash_of_folder(folder: Path) -> str:
    """Return the hash of a model in the format of transformers: over its configuration, tokenizer and weights."""
    files = [folder / "config.json", folder / "tokenizer.json", *sorted(folder.glob("*.safetensors"))]
    return sha256_of_json({file.name: sha256_of_file(file) for file in files if file.is_file()})


def load_tokenizer(spec: str | Path) -> TextTokenizer:
    """Load a model's tokenizer without its weights.

    Raises:
        TslrecError: as `load_language_model`.
    """
    resolved = resolve_model(spec)
    if resolved.kind == "gguf":
        return tokenizer_from_metadata(read_metadata(resolved.path))
    return tokenizer_from_file(str(resolved.path / "tokenizer.json"))[0]
