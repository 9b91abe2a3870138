"""Language models from .gguf files, folders of transformers, aliases and hub ids.

Importing this module loads torch and the tokenizer library; transformers is loaded with the first model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from ..errors import TslrecError, first_line
from ..storage.artifacts import read_json
from .encoders import POOLINGS, Encoder
from .gguf.bert import check_bert, write_bert
from .gguf.metadata import Metadata, value
from .gguf.names import ARCHITECTURES, architecture_of_config, plain_config
from .gguf.reader import read_gguf
from .gguf.tokenizer import TextTokenizer, metadata_from_tokenizer, tokenizer_from_file, tokenizer_from_metadata
from .gguf.writer import write_gguf
from .resolve import ResolvedModel, resolve_model


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with everything that is needed to write it again."""

    network: Any
    """The transformers model (``LlamaForCausalLM`` or that of another architecture), in eval mode."""
    tokenizer: TextTokenizer
    metadata: Metadata
    """Tokenizer and description for a GGUF file."""
    source: ResolvedModel

    def write_f16(self, target: Path) -> None:
        """Write the model as an f16 GGUF file."""
        write_gguf(target, self.network, self.network.config.to_dict(), self.metadata)


@dataclass(frozen=True)
class EncoderModel:
    """A BERT encoder with everything that is needed to write it."""

    network: Any
    """The transformers model, in eval mode."""
    tokenizer: TextTokenizer
    description: dict[str, Any]
    """The parsed tokenizer.json."""
    encoder: Encoder
    source: ResolvedModel

    def write_f16(self, target: Path) -> None:
        """Write the model as an f16 GGUF file; raises TslrecError, see `gguf.bert.write_bert`."""
        write_bert(target, self.network, self.description, pooling=POOLINGS[self.encoder.pooling],
                   name=self.source.name)


def load_language_model(spec: str | Path | ResolvedModel, *, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """Load a model.

    Args:
        spec: see `resolve_model`.
        dtype: of the weights in memory; quantised ones are dequantised.

    Raises:
        TslrecError: it can't be found, is damaged, or can't be converted to GGUF and back.
    """
    resolved = resolve_model(spec)
    return _load_gguf(resolved, dtype) if resolved.kind == "gguf" else _load_folder(resolved, dtype)


def last_hidden_states(network: Any, token_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the states after the final norm, [B, T, D] in the network's dtype.

    Args:
        network: `LanguageModel.network`.
        token_ids: int64 [B, T].
        attention_mask: int64 [B, T], 1 = token, 0 = padding (on the right).
    """
    return network.model(input_ids=token_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state


class _StoredTensor:
    """A weight that is still in its file: transformers reads it by ``[...]``, like those of safetensors."""

    def __init__(self, state: Mapping[str, np.ndarray], name: str) -> None:
        self._state, self._name = state, name

    def __getitem__(self, _whole: object) -> torch.Tensor:
        return torch.from_numpy(self._state[self._name])


def _load_gguf(source: ResolvedModel, dtype: torch.dtype) -> LanguageModel:
    import transformers

    path = source.path
    model = read_gguf(path)
    tokenizer = tokenizer_from_metadata(model.metadata)
    network_class = getattr(transformers, ARCHITECTURES[model.architecture].network)
    state = {key: _StoredTensor(model.state, key) for key in model.state}
    try:
        with quiet_transformers():
            config = network_class.config_class(**model.config)
            network = network_class.from_pretrained(None, config=config, state_dict=state,
                                                    attn_implementation="sdpa", torch_dtype=dtype)
    except Exception as error:  # transformers' errors share no base class
        raise TslrecError(f"{path} has a configuration that doesn't fit its tensors ({first_line(error)}); get it again"
                          ) from None
    return LanguageModel(network.eval(), tokenizer, model.metadata, source)


def _load_folder(source: ResolvedModel, dtype: torch.dtype) -> LanguageModel:
    import transformers

    folder = source.path
    described = read_json(folder / "config.json")
    if not isinstance(described, dict):
        raise TslrecError(f"{folder / 'config.json'} is not the configuration of a model; get or save the model again")
    network_class = getattr(transformers, ARCHITECTURES[architecture_of_config(described)].network)
    tokenizer, description = tokenizer_from_file(str(folder / "tokenizer.json"))
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise TslrecError(f"{folder} has no *.safetensors; save the model again with safe_serialization=True")
    try:
        layers, stored = described.get("num_hidden_layers"), 0
        for path in weights:
            with safe_open(path, framework="pt") as file:
                stored += len(file.keys())
        if isinstance(layers, int) and layers > stored:  # transformers would create them all
            raise ValueError(f"config.json says that it has {layers} layers, but it has {stored} tensors")
        with quiet_transformers():
            network, report = network_class.from_pretrained(
                folder, attn_implementation="sdpa", torch_dtype=dtype, use_safetensors=True, local_files_only=True,
                output_loading_info=True)
    except Exception as error:  # transformers' errors share no base class
        raise TslrecError(f"{folder} can't be loaded ({first_line(error)}); get or save the model again") from None
    if report["missing_keys"]:
        raise TslrecError(f"{folder} lacks the weights {', '.join(sorted(report['missing_keys'])[:3])}; "
                          "get or save the model again")
    config = plain_config(network.config.to_dict())
    metadata = {"general.name": value(source.name), "general.type": value("model"),
                **metadata_from_tokenizer(tokenizer, description, config)}
    return LanguageModel(network.eval(), tokenizer, metadata, source)


def load_encoder(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Load the transformers model of an encoder, in eval mode.

    Raises:
        TslrecError: the folder is damaged, or transformers does not know such a model.
    """
    from transformers import AutoModel

    if not list(folder.glob("*.safetensors")):
        raise TslrecError(f"{folder} has no *.safetensors; save the model again with safe_serialization=True")
    try:
        with quiet_transformers():
            network, report = AutoModel.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True,
                                                        local_files_only=True, output_loading_info=True)
    except Exception as error:  # transformers' errors share no base class
        raise TslrecError(f"{folder} can't be loaded ({first_line(error)}); get or save the model again") from None
    missing = sorted(name for name in report["missing_keys"] if "pooler." not in name)  # a part that nothing reads
    if missing:
        raise TslrecError(f"{folder} lacks the weights {', '.join(missing[:3])}; get or save the model again")
    return network.eval()


def load_encoder_model(source: ResolvedModel, encoder: Encoder, dtype: torch.dtype = torch.float32) -> EncoderModel:
    """Load an encoder of type ``bert`` and its tokenizer from a folder.

    Raises:
        TslrecError: the folder is damaged, or llama.cpp can't compute such a model.
    """
    tokenizer, description = tokenizer_from_file(str(source.path / "tokenizer.json"))
    network = load_encoder(source.path, dtype)
    check_bert(network, description)
    return EncoderModel(network, tokenizer, description, encoder, source)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bars and warnings during a block."""
    from transformers.utils import logging

    had_bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what it warns of is an error here
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()
