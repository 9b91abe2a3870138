"""What is read of a language model without loading it: its hash, its tokenizer, what fine-tuning left of it.

Importing this module loads neither torch nor transformers: embedding with llama.cpp needs no more than this.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config_fields import from_mapping
from ..configs import FinetuneConfig
from ..errors import TslrecError
from ..storage.artifacts import Artifact, open_artifact, sha256_of_file, sha256_of_json
from .gguf.reader import read_metadata
from .gguf.tokenizer import TextTokenizer, tokenizer_from_file, tokenizer_from_metadata
from .prompts import PromptTemplate
from .resolve import resolve_model

F16_FILE = "model-f16.gguf"


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


@dataclass(frozen=True)
class TunedModel:
    """A finetune artifact, opened."""

    artifact: Artifact
    config: FinetuneConfig
    template: PromptTemplate
    quantised: Path
    """The GGUF file for embedding."""


def quantised_name(quant: str) -> str:
    """Return the name of the GGUF file for embedding."""
    return F16_FILE if quant == "F16" else f"model-{quant}.gguf"


def template_of(config: FinetuneConfig) -> PromptTemplate:
    """Return the prompt template that a configuration describes."""
    fields = tuple(name.strip() for name in config.text_fields.split(",") if name.strip())
    return PromptTemplate(config.prompt_prefix, config.prompt_item, config.prompt_suffix, config.pooling,
                          config.max_title_tokens, config.text, fields)


def open_tuned(path: Path) -> TunedModel:
    """Open a finetune artifact.

    Raises:
        TslrecError: it is missing or damaged, or of a version with other settings.
    """
    artifact = open_artifact(path, "finetune")
    missing = [name for name in ("model", "loss", "quant") if name not in artifact.config]
    if missing:
        raise TslrecError(f"{path / 'config.json'} lacks {', '.join(missing)}; run tslrec finetune again")
    config = from_mapping(FinetuneConfig, artifact.config, str(path))
    quantised = artifact.path / quantised_name(config.quant)
    if not quantised.is_file():
        raise TslrecError(f"{path} lacks {quantised.name}; run tslrec finetune again")
    return TunedModel(artifact, config, PromptTemplate.load(artifact.path / "prompt.json"), quantised)
