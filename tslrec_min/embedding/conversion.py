"""Encoders in the format of transformers as .gguf files, which are checked against the model and kept in the cache."""

from __future__ import annotations

from pathlib import Path

from ..configs import QUANTS
from ..errors import TslrecError
from ..finetuning.parity import compare_states
from ..llm.encoders import Encoder
from ..llm.gguf.tokenizer import tokenizer_from_file
from ..llm.prompts import TokenPrompt
from ..llm.resolve import ResolvedModel
from ..runtime.progress import step
from ..storage.artifacts import sha256_of_json
from ..storage.cache import made_once
from ..storage.downloads import cache_folder

_FORMAT = 1
"""Raised when files are written differently, so that older ones are not used."""
_TITLES = (
    "The Shawshank Redemption (1994)", "Crème brûlée torch, stainless steel", "ナイトクリーム 50ml 敏感肌用",
    "Women's running shoes – size 7½", "50% off: phone case + charger!", "Lip gloss 💄✨ set of 3", "Война и мир",
    "L'Oréal Paris Elvive shampoo, 400 ml", "C++ primer & reference", "한국어 학습 책", "Don't look up", "(untitled)",
    "Hydrating face moisturizer with hyaluronic acid and vitamin E for dry skin, fragrance free, 2 pack, 16 fl oz")
"""What the check of a conversion embeds."""


def gguf_of_encoder(model: ResolvedModel, encoder: Encoder, quant: str, *, threads: int) -> Path:
    """Return the .gguf file of an encoder, from the cache or made from its folder.

    Args:
        model: a folder in the format of transformers.
        encoder: its description.
        quant: one of `QUANTS`.
        threads: of quantisation and llama.cpp.

    Raises:
        TslrecError: llama.cpp has no such encoder, or its vectors differ too much from the model's.
    """
    half = _path(model, encoder, "F16")
    made_once(half, lambda path: _write(model, encoder, path))
    if quant == "F16":
        return half
    target = _path(model, encoder, quant)
    made_once(target, lambda path: _quantise(model, encoder, half, path, quant, threads))
    return target


def _path(model: ResolvedModel, encoder: Encoder, quant: str) -> Path:
    key = sha256_of_json([_FORMAT, model.hash, encoder.pooling])
    return cache_folder() / f"{key[:12]}-{model.name.rpartition('/')[2]}-{quant}.gguf"


def _write(model: ResolvedModel, encoder: Encoder, path: Path) -> None:
    if encoder.architecture != "bert":
        raise TslrecError(f"{model.name} is an encoder of type {encoder.architecture!r}; tslrec converts only 'bert' "
                          "for llama.cpp: use --engine torch, or give the model as a .gguf")
    from ..llm.model import load_encoder_model

    step(f"writing {path.name}")
    load_encoder_model(model, encoder).write_f16(path)
    _check(model, encoder, path, "F16", threads=1)


def _quantise(model: ResolvedModel, encoder: Encoder, half: Path, path: Path, quant: str, threads: int) -> None:
    from ..llm.gguf.quantization import quantize

    step(f"writing {path.name}")
    quantize(half, path, quant, threads=threads)
    _check(model, encoder, path, quant, threads=threads)


def _check(model: ResolvedModel, encoder: Encoder, path: Path, quant: str, *, threads: int) -> None:
    """Remove a file, and raise TslrecError, if its vectors of some titles are not those of the model in float32."""
    from ..llm.engines.llama_encoder import LlamaEncoder
    from ..llm.engines.torch_encoder import TorchEncoder
    from ..llm.model import load_encoder

    tokenizer, _ = tokenizer_from_file(str(model.path / "tokenizer.json"))
    prompts = [TokenPrompt(tuple(ids), 0, len(ids)) for ids in tokenizer.encode_all(_TITLES)
               if len(ids) <= encoder.max_tokens]
    reference = TorchEncoder(load_encoder(model.path), encoder).embed(prompts)
    with LlamaEncoder(path, encoder, threads=threads) as engine:
        cosine = compare_states(reference, engine.embed(prompts))["mean_cosine"]
    if cosine < QUANTS[quant]:
        path.unlink()
        raise TslrecError(f"{model.name} as {quant} differs too much from the model: the mean cosine of vectors is "
                          f"{cosine:.4f}, expected at least {QUANTS[quant]}; choose a finer quantisation, or --engine "
                          "torch")
