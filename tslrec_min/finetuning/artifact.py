"""The finetune artifact: adapter, head, prompt template and GGUF files of a fine-tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config_fields import from_mapping
from ..configs import FinetuneConfig
from ..errors import TslrecError
from ..llm.prompts import PromptTemplate
from ..storage.artifacts import Artifact, open_artifact

if TYPE_CHECKING:
    from ..llm.model import LanguageModel

F16_FILE = "model-f16.gguf"


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


def open_tuned(path: Path) -> TunedModel:
    """Open a finetune artifact.

    Raises:
        TslrecError: it is missing or damaged, or from a version with other settings.
    """
    artifact = open_artifact(path, "finetune")
    missing = [name for name in ("model", "loss", "quant") if name not in artifact.config]
    if missing:
        raise TslrecError(f"{path / 'config.json'} lacks {', '.join(missing)}; run tslrec finetune again")
    config = from_mapping(FinetuneConfig, artifact.config, str(path), refuse_unread=False)
    quantised = artifact.path / quantised_name(config.quant)
    if not quantised.is_file():
        raise TslrecError(f"{path} lacks {quantised.name}; run tslrec finetune again")
    return TunedModel(artifact, config, PromptTemplate.load(artifact.path / "prompt.json"), quantised)


def load_tuned(tuned: TunedModel) -> LanguageModel:
    """Load the base model of a finetune artifact in float32, with its LoRA layers.

    Raises:
        TslrecError: the base model has changed since then.
    """
    from ..llm.lora import load_adapter  # torch
    from ..llm.model import load_language_model

    base = load_language_model(tuned.config.model)
    if base.source.hash != tuned.artifact.record["inputs"]["model"]:
        raise TslrecError(f"the base model {tuned.config.model} is not the one that {tuned.artifact.path} "
                          "was fine-tuned from: its weights have changed; run tslrec finetune again")
    load_adapter(base.network, tuned.artifact.path / "adapter")
    return base
