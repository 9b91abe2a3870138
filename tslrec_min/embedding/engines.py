"""The engine that embeds with a model: llama.cpp or torch, for a decoder or an encoder.

With llama.cpp and a .gguf file neither torch nor transformers is imported: they would take most of the memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import EmbedConfig
from ..errors import TslrecError
from ..finetuning.artifact import F16_FILE, TunedModel
from ..llm.encoders import Encoder
from ..llm.engines.engine import BatchedEngine
from ..llm.resolve import ResolvedModel
from ..runtime.progress import step

if TYPE_CHECKING:
    import torch

    from ..llm.engines.torch_encoder import TorchEncoder
    from ..llm.engines.torch_engine import TorchEngine


def tuned_engine(tuned: TunedModel, config: EmbedConfig, device: torch.device | str, threads: int
                 ) -> AbstractContextManager[BatchedEngine]:
    """Open the engine of a fine-tuned model."""
    if config.engine == "llama":
        half = tuned.artifact.path / F16_FILE
        stored = {"auto": tuned.quantised, "F16": half}.get(config.quant)
        return _tuned_llama(tuned, stored or half, None if stored else config.quant, config, threads)
    return _tuned_torch(tuned, config, device)


def _tuned_torch(tuned: TunedModel, config: EmbedConfig, device: Any) -> BatchedEngine:
    from ..finetuning.artifact import load_tuned
    from ..llm.lora import merge_lora
    from ..runtime.device import resolve_precision

    network = load_tuned(tuned).network
    merge_lora(network)
    return tuned.kind.torch_engine(network, device=device, batch_tokens=config.batch_tokens,
                                   dtype=resolve_precision(config.torch_precision, device))


@contextmanager
def _tuned_llama(tuned: TunedModel, path: Path, quant: str | None, config: EmbedConfig, threads: int
                 ) -> Iterator[BatchedEngine]:
    with _quantised(path, quant, threads) as path, tuned.kind.llama_engine(
            path, threads=threads, gpu_layers=config.gpu_layers, batch_tokens=config.batch_tokens) as engine:
        yield engine


def base_engine(base: ResolvedModel, config: EmbedConfig, device: torch.device | str, threads: int
                ) -> AbstractContextManager[BatchedEngine]:
    """Open the engine of a decoder that is not fine-tuned."""
    if config.engine == "torch":
        from ..llm.model import load_language_model

        return _torch(load_language_model(base).network, config, device)
    if base.kind != "gguf":
        return _llama(base, None if config.quant in ("auto", "F16") else config.quant, config, threads)
    from ..llm.gguf.quantization import quant_for_speed

    quant = quant_for_speed(base.path) if config.quant == "auto" else config.quant
    return _llama(base.path, quant, config, threads)


def encoder_engine(base: ResolvedModel, encoder: Encoder, config: EmbedConfig, device: torch.device | str, threads: int
                   ) -> AbstractContextManager[BatchedEngine]:
    """Open the engine of an encoder.

    Raises:
        TslrecError: the engine can't read the model's format, or its files are damaged.
    """
    if config.engine == "torch":
        return _torch_encoder(base, encoder, config, device)
    if encoder.causal:
        return _llama_causal(base, encoder, config, device, threads)
    return _llama_encoder(base, encoder, config, threads)


@contextmanager
def _llama_causal(base: ResolvedModel, encoder: Encoder, config: EmbedConfig, device: torch.device | str, threads: int
                  ) -> Iterator[BatchedEngine]:
    """Open the engine of decoders: a prompt's span does what the pooling does."""
    with base_engine(base, config, device, threads) as engine:
        engine.normalised = encoder.normalised
        yield engine


@contextmanager
def _llama_encoder(base: ResolvedModel, encoder: Encoder, config: EmbedConfig, threads: int
                   ) -> Iterator[BatchedEngine]:
    """Open a .gguf file as it is or, with a quantisation, written in it; a folder as a .gguf file in the cache."""
    from ..llm.engines.llama_encoder import LlamaEncoder, fast_half

    if base.kind == "hf":
        from .conversion import gguf_of_encoder

        quant = fast_half(gpu=config.gpu_layers != 0) if config.quant == "auto" else config.quant
        path, quant = gguf_of_encoder(base, encoder, quant, threads=threads), "auto"
    else:
        path, quant = base.path, config.quant
    with _quantised(path, None if quant == "auto" else quant, threads) as path, LlamaEncoder(
            path, encoder, threads=threads, gpu_layers=config.gpu_layers, batch_tokens=config.batch_tokens) as engine:
        yield engine


def _torch_encoder(base: ResolvedModel, encoder: Encoder, config: EmbedConfig, device: Any) -> TorchEncoder:
    if base.kind == "gguf":
        raise TslrecError(f"{base.path} is the .gguf file of an encoder, which only llama.cpp reads; use --engine "
                          "llama, or give its folder in the format of transformers")
    from ..llm.engines.torch_encoder import TorchEncoder
    from ..llm.model import load_encoder
    from ..runtime.device import resolve_precision

    # Loaded in this dtype, not cast to it: a cast would round rotary frequencies too.
    network = load_encoder(base.path, resolve_precision(config.torch_precision, device))
    return TorchEncoder(network, encoder, device=device, batch_tokens=config.batch_tokens)


def _torch(network: Any, config: EmbedConfig, device: Any) -> TorchEngine:
    from ..llm.engines.torch_engine import TorchEngine
    from ..runtime.device import resolve_precision

    return TorchEngine(network, device=device, batch_tokens=config.batch_tokens,
                       dtype=resolve_precision(config.torch_precision, device))


@contextmanager
def _llama(source: Path | ResolvedModel, quant: str | None, config: EmbedConfig, threads: int
           ) -> Iterator[BatchedEngine]:
    """Open a GGUF file, or a model in another format; with `quant`, after writing it in this quantisation."""
    from ..llm.engines.llama_engine import LlamaEngine

    with tempfile.TemporaryDirectory(prefix="tslrec-") as folder:
        path = source if isinstance(source, Path) else Path(folder) / F16_FILE
        if not isinstance(source, Path):
            from ..llm.model import load_language_model

            load_language_model(source).write_f16(path)
        with _quantised(path, quant, threads) as path, LlamaEngine(
                path, threads=threads, gpu_layers=config.gpu_layers, batch_tokens=config.batch_tokens) as engine:
            yield engine


@contextmanager
def _quantised(path: Path, quant: str | None, threads: int) -> Iterator[Path]:
    """Yield a GGUF file, or with `quant` a temporary one in that quantisation."""
    if quant is None:
        yield path
        return
    from ..llm.gguf.quantization import quantize

    with tempfile.TemporaryDirectory(prefix="tslrec-") as folder:
        step(f"writing {path.name} as {quant}")
        target = Path(folder) / f"model-{quant}.gguf"
        quantize(path, target, quant, threads=threads, again=True)
        yield target
