"""Encoders: models that were trained to turn a text into one vector, and what their files say about how.

Which models these are follows from their files, never from an option:

- a .gguf file whose attention is not causal, or whose metadata name a pooling;
- a folder that sentence-transformers wrote (modules.json), or whose model predicts masked words, as BERT does.

All others are decoders. An encoder gets the item's text alone, without the prompt that decoders get, and its vectors
are those that sentence-transformers' ``encode`` returns for the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import TslrecError
from ..storage.artifacts import read_json, write_json
from .gguf.names import ARCHITECTURES
from .gguf.reader import gguf_reader, layers_of
from .resolve import ResolvedModel

POOLINGS = {"mean": 1, "cls": 2, "last": 3}
"""Pooling -> its number in GGUF and llama.cpp."""
_RANK = 4
_NOT_CAUSAL = ("bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert",
               "nomic-bert", "nomic-bert-moe")
"""Architectures that llama.cpp computes without a causal mask even if the file doesn't say so."""
_MODULES = {"Transformer", "Pooling", "Normalize"}
_MODES = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last", "mean": "mean", "cls": "cls"}
"""Poolings of sentence-transformers, by the names of its older and newer versions."""
_POSITIONS_AFTER_PADDING = ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta",
                            "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")
"""Models of transformers whose positions start after the id of the padding token."""
_DEFAULT_TOKENS = 512


@dataclass(frozen=True)
class Encoder:
    """How a model turns a text into a vector."""

    architecture: str
    """GGUF's name of the architecture, or the type in a transformers config."""
    pooling: str
    """Of the last hidden states, special tokens included: their ``mean``, or the ``cls`` (first) or ``last`` one."""
    normalised: bool
    """Whether vectors are scaled to length 1."""
    max_tokens: int
    """Maximum number of tokens of a text, special tokens included; longer ones are cut."""
    causal: bool = False
    """Whether a token sees only those before it."""

    def save(self, path: Path) -> None:
        """Write the description as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Read what `save` wrote.

        Raises:
            TslrecError: the file is missing, or is no description of an encoder.
        """
        stored = read_json(path)
        kinds = {item.name: {"str": str, "int": int, "bool": bool}[str(item.type)] for item in fields(cls)}
        if (not isinstance(stored, dict) or {name: type(value) for name, value in stored.items()} != kinds
                or stored["pooling"] not in POOLINGS or stored["max_tokens"] < 1):
            raise TslrecError(f"{path} is not the description of an encoder; make the folder again")
        return cls(**stored)


def encoder_of(model: ResolvedModel) -> Encoder | None:
    """Return how an encoder works, or None for a decoder.

    Vectors of a .gguf file are normalised, as llama.cpp's own tools do: the format has no word for it. Of a folder
    they are if its modules.json says so. Without a pooling it is the mean.

    Raises:
        TslrecError: the model's files are damaged, or it is an encoder with a part that can't be computed here.
    """
    if model.kind == "gguf":
        return _of_gguf(model.path)
    config = read_json(model.path / "config.json")
    if not isinstance(config, dict):
        raise TslrecError(f"{model.path / 'config.json'} is not the configuration of a model; get or save the model "
                          "again")
    return _of_folder(model.path, config)


def _of_gguf(path: Path) -> Encoder | None:
    with gguf_reader(path) as reader:
        name, _ = layers_of(reader)
        pooling, causal, length = (None if field is None else field.contents() for field in (
            reader.get_field(f"{name}.{key}") for key in ("pooling_type", "attention.causal", "context_length")))
        if pooling == _RANK:
            raise TslrecError(f"{path} is a reranker (its pooling is rank): it scores pairs of texts and has no vector "
                              "of one; give an embedding model")
        if pooling not in (None, 0, *POOLINGS.values()):
            known = ", ".join(f"{number} ({pool})" for pool, number in POOLINGS.items())
            raise TslrecError(f"{path} has the pooling {pooling}; expected one of {known}: give another model")
        causal = name not in _NOT_CAUSAL and causal is not False
        if causal and not pooling:
            return None
        pooled = next((pool for pool, number in POOLINGS.items() if number == pooling), "mean")
        return Encoder(name, pooled, normalised=True, max_tokens=int(length or _DEFAULT_TOKENS), causal=causal)


def _of_folder(folder: Path, config: Mapping[str, Any]) -> Encoder | None:
    kind = str(config.get("model_type"))
    decodes = kind in {architecture.model_type for architecture in ARCHITECTURES.values()}
    if not (folder / "modules.json").is_file():
        if decodes or not _predicts_masked_words(kind, config):
            return None
        return Encoder(kind, "mean", normalised=False, max_tokens=_max_tokens(folder, config, {}))
    modules = {str(module.get("type")).rpartition(".")[2]: folder / str(module.get("path", ""))
               for module in _objects(read_json(folder / "modules.json"), folder / "modules.json")}
    if modules.keys() - _MODULES:
        raise TslrecError(f"{folder} has the modules {', '.join(modules)}; tslrec computes {', '.join(_MODULES)} only: "
                          "give another model")
    settings = _settings(folder / "sentence_bert_config.json")
    if settings.get("do_lower_case"):
        raise TslrecError(f"{folder / 'sentence_bert_config.json'} sets do_lower_case, which tslrec does not do; give "
                          "a model whose tokenizer does it")
    pooling = _pooling(modules["Pooling"] / "config.json") if "Pooling" in modules else "mean"
    return Encoder(kind, pooling, "Normalize" in modules, _max_tokens(folder, config, settings),
                   causal=decodes and not config.get("use_bidirectional_attention"))


def _predicts_masked_words(kind: str, config: Mapping[str, Any]) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES  # slow to import

    return kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_encoder_decoder")


def _pooling(path: Path) -> str:
    """Return the pooling that a 1_Pooling/config.json of sentence-transformers names."""
    settings = _settings(path)
    modes = [key.removeprefix("pooling_mode_") for key, value in settings.items()
             if key.startswith("pooling_mode_") and value is True] or [str(settings.get("pooling_mode"))]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise TslrecError(f"{path} pools by {', '.join(modes)}; tslrec pools by one of {', '.join(POOLINGS)}: give "
                          "another model")
    return _MODES[modes[0]]


def _max_tokens(folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    """Return the least of what the model, its tokenizer and sentence-transformers' settings allow."""
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and config.get("model_type") in _POSITIONS_AFTER_PADDING:
        padding = config.get("pad_token_id")
        positions -= 1 + (padding if isinstance(padding, int) else 1)
    limits = [positions, _settings(folder / "tokenizer_config.json").get("model_max_length"),
              settings.get("max_seq_length")]
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and limit > 0]
    return min(known, default=_DEFAULT_TOKENS)


def _settings(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if there is no file."""
    if not path.is_file():
        return {}
    return _objects([read_json(path)], path)[0]


def _objects(values: Any, path: Path) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TslrecError(f"{path} is not what sentence-transformers or transformers writes; get or save the model "
                          "again")
    return values
