"""The two kinds of models that can be fine-tuned, and all that differs between them.

A kind knows how its models are loaded, what they read, how they are computed while they learn, and which engines embed.

Importing this module loads neither torch nor llama.cpp.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import FinetuneConfig
from ..errors import TslrecError
from ..llm.encoders import Encoder, encoder_of
from ..llm.prompts import Prompts, PromptTemplate, template_of
from ..llm.resolve import ResolvedModel, resolve_model
from ..llm.title_list import TitleList

if TYPE_CHECKING:
    import torch

    from ..llm.engines.engine import BatchedEngine
    from ..llm.engines.llama_engine import LlamaEngine
    from ..llm.model import EncoderModel, LanguageModel
    from .head import PooledStates

_PROMPT, _ENCODER, _TOKENIZER = "prompt.json", "encoder.json", "tokenizer.json"
"""Files of a finetune artifact: the first of a decoder, the others of an encoder."""


class Kind(ABC):
    """What fine-tuning, its checks and embedding need to know of a model beside its weights."""

    @abstractmethod
    def prompts(self, config: FinetuneConfig) -> Prompts:
        """Return how the model reads items and users.

        Raises:
            TslrecError: an option does not apply.
        """

    @abstractmethod
    def load(self, source: ResolvedModel, dtype: torch.dtype | None = None) -> LanguageModel | EncoderModel:
        """Load the base model; `dtype` of its weights, None: float32.

        Raises:
            TslrecError: it is damaged, or can't be written as GGUF.
        """

    @abstractmethod
    def reader(self, network: Any, *, checkpointing: bool = False) -> PooledStates:
        """Return the forward pass of fine-tuning, of a network with LoRA layers on its device."""

    @abstractmethod
    def context_length(self, network: Any) -> int:
        """Return the maximum number of tokens in a prompt."""

    @abstractmethod
    def save(self, folder: Path, source: ResolvedModel, config: FinetuneConfig) -> None:
        """Write what embedding needs beside the GGUF file into an artifact's folder."""

    @abstractmethod
    def tokenizer_of(self, folder: Path, file: Path) -> Path | ResolvedModel:
        """Return whose tokenizer makes the prompts: the GGUF file's, or that in the artifact's folder."""

    @abstractmethod
    def torch_engine(self, network: Any, **options: Any) -> BatchedEngine:
        """Return the torch engine of a network; options: device, batch_tokens, dtype, as of `TorchEngine`."""

    @abstractmethod
    def llama_engine(self, path: Path, **options: Any) -> LlamaEngine:
        """Return the engine of a GGUF file; options: threads, gpu_layers, batch_tokens, as of `LlamaEngine`."""


class DecoderKind(Kind):
    """A causal language model, which reads a prompt."""

    def prompts(self, config: FinetuneConfig) -> PromptTemplate:
        """Return the prompt template."""
        return template_of(config)

    def load(self, source: ResolvedModel, dtype: torch.dtype | None = None) -> LanguageModel:
        """Load the base model."""
        import torch

        from ..llm.model import load_language_model

        return load_language_model(source, dtype=dtype or torch.float32)

    def reader(self, network: Any, *, checkpointing: bool = False) -> PooledStates:
        """Return the packed forward pass."""
        from ..llm.packed_decoder import PackedDecoder

        return PackedDecoder(network, checkpointing=checkpointing)

    def context_length(self, network: Any) -> int:
        """Return what the model was trained for."""
        return int(network.config.max_position_embeddings)

    def save(self, folder: Path, source: ResolvedModel, config: FinetuneConfig) -> None:
        """Write the template; the GGUF file has the tokenizer."""
        template_of(config).save(folder / _PROMPT)

    def tokenizer_of(self, folder: Path, file: Path) -> Path:
        """Return the GGUF file."""
        return file

    def torch_engine(self, network: Any, **options: Any) -> BatchedEngine:
        """Return the torch engine."""
        from ..llm.engines.torch_engine import TorchEngine

        return TorchEngine(network, **options)

    def llama_engine(self, path: Path, **options: Any) -> LlamaEngine:
        """Return the engine of llama.cpp."""
        from ..llm.engines.llama_engine import LlamaEngine

        return LlamaEngine(path, **options)


@dataclass(frozen=True)
class EncoderKind(Kind):
    """A BERT encoder, which reads titles alone and pools as it was trained to."""

    encoder: Encoder

    def prompts(self, config: FinetuneConfig) -> TitleList:
        """Return how titles are put together."""
        return TitleList.of(config, self.encoder)

    def load(self, source: ResolvedModel, dtype: torch.dtype | None = None) -> EncoderModel:
        """Load the base model."""
        import torch

        from ..llm.model import load_encoder_model

        return load_encoder_model(source, self.encoder, dtype or torch.float32)

    def reader(self, network: Any, *, checkpointing: bool = False) -> PooledStates:
        """Return the padded forward pass."""
        from ..llm.padded_encoder import PaddedEncoder

        return PaddedEncoder(network, self.encoder, checkpointing=checkpointing)

    def context_length(self, network: Any) -> int:
        """Return the length to which texts are cut."""
        return self.encoder.max_tokens

    def save(self, folder: Path, source: ResolvedModel, config: FinetuneConfig) -> None:
        """Write the encoder's description, and copy its tokenizer: llama.cpp's differs for some words."""
        self.encoder.save(folder / _ENCODER)
        shutil.copyfile(source.path / _TOKENIZER, folder / _TOKENIZER)

    def tokenizer_of(self, folder: Path, file: Path) -> ResolvedModel:
        """Return the folder, as if it were the model's."""
        return ResolvedModel("hf", folder, folder.name)

    def torch_engine(self, network: Any, **options: Any) -> BatchedEngine:
        """Return the torch engine."""
        from ..llm.engines.torch_encoder import TorchEncoder

        return TorchEncoder(network, self.encoder, **options)

    def llama_engine(self, path: Path, **options: Any) -> LlamaEngine:
        """Return the engine of llama.cpp."""
        from ..llm.engines.llama_encoder import LlamaEncoder

        return LlamaEncoder(path, self.encoder, **options)


def kind_of(model: str | ResolvedModel) -> tuple[ResolvedModel, Kind]:
    """Find a model that can be fine-tuned; a causal encoder is read with a prompt, as any decoder.

    Raises:
        TslrecError: there is no such model, or it is an encoder that llama.cpp, or torch, can't compute.
    """
    source = resolve_model(model)
    encoder = encoder_of(source)
    if encoder is None or encoder.causal:
        return source, DecoderKind()
    if source.kind == "gguf":
        raise TslrecError(f"{source.path} is the .gguf file of an encoder, which torch can't train; give its folder in "
                          "the format of transformers")
    if encoder.architecture != "bert":
        raise TslrecError(f"{source.name} is an encoder of type {encoder.architecture!r}; fine-tuning takes decoders "
                          "and encoders of type 'bert', such as all-minilm-l6-v2. tslrec embed --model takes it as it "
                          "is")
    return source, EncoderKind(encoder)


def stored_kind(folder: Path) -> Kind:
    """Return the kind of the model in a finetune artifact.

    Raises:
        TslrecError: its files are damaged.
    """
    path = folder / _ENCODER
    return EncoderKind(Encoder.load(path)) if path.is_file() else DecoderKind()


def stored_prompts(folder: Path, kind: Kind, config: FinetuneConfig) -> Prompts:
    """Return how the model in a finetune artifact reads items and users.

    Raises:
        TslrecError: its files are damaged.
    """
    return kind.prompts(config) if isinstance(kind, EncoderKind) else PromptTemplate.load(folder / _PROMPT)
