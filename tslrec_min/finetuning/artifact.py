"""The finetune artifact: adapter, head, GGUF files and what a fine-tuned model reads: its prompt template, or of an
encoder its description and tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config_fields import from_mapping
from ..configs import FinetuneConfig
from ..errors import TslrecError
from ..llm.encoders import Encoder
from ..llm.prompts import Prompts
from ..llm.resolve import ResolvedModel, resolve_model
from ..storage.artifacts import Artifact, open_artifact
from .kinds import EncoderKind, Kind, stored_kind, stored_prompts

if TYPE_CHECKING:
    from ..llm.model import EncoderModel, LanguageModel

F16_FILE = "model-f16.gguf"


@dataclass(frozen=True)
class TunedModel:
    """A finetune artifact, opened."""

    artifact: Artifact
    config: FinetuneConfig
    kind: Kind
    template: Prompts
    """How it reads items and users."""
    quantised: Path
    """The GGUF file for embedding."""

    @property
    def encoder(self) -> Encoder | None:
        """How an encoder works; None of a decoder."""
        return self.kind.encoder if isinstance(self.kind, EncoderKind) else None

    @property
    def tokenizer_model(self) -> Path | ResolvedModel:
        """Whose tokenizer makes the prompts, for `load_tokenizer`."""
        return self.kind.tokenizer_of(self.artifact.path, self.quantised)


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
    kind = stored_kind(artifact.path)
    return TunedModel(artifact, config, kind, stored_prompts(artifact.path, kind, config), quantised)


def load_tuned(tuned: TunedModel) -> LanguageModel | EncoderModel:
    """Load the base model of a finetune artifact in float32, with its LoRA layers.

    Raises:
        TslrecError: the base model has changed since then.
    """
    from ..llm.lora import load_adapter  # torch

    source = resolve_model(tuned.config.model)
    if source.hash != tuned.artifact.record["inputs"]["model"]:
        raise TslrecError(f"the base model {tuned.config.model} is not the one that {tuned.artifact.path} "
                          "was fine-tuned from: its weights have changed; run tslrec finetune again")
    base = tuned.kind.load(source)
    load_adapter(base.network, tuned.artifact.path / "adapter")
    return base
