"""Artifacts: folders that are complete or do not exist.

A stage writes into a hidden folder beside the final one and renames it when everything is written and synced. A crash,
Ctrl-C or ``kill -9`` leaves the old artifact, the new one, or none; killed in the middle of a replacement, the next
write restores the old one. The artifact's ``config.json`` holds the resolved configuration, the hashes of the inputs,
versions, seed, wall time, peak memory, a SHA-256 of every other file and one of the record itself. The *artifact hash*
is the hash of the file hashes: it depends only on contents, not on when, where or how fast they were written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import TslrecError, missing_path
from ..runtime.background import begun
from ..runtime.measuring import peak_memory_mib, start_measuring
from ..runtime.progress import step
from .atomic import REPLACED, alone_in, remove_leftovers, sync, temporary_beside

_RECORDED_VERSIONS = ("tslrec-min", "numpy", "torch", "transformers", "llama-cpp-python", "gguf")
_OWN_HASH = "record_hash"


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON with a final newline; NaN and infinity raise ValueError."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        TslrecError: the file is missing or isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TslrecError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, not JSON, endless digits, nested too deep
        raise TslrecError(f"{path} can't be read as JSON: {error}") from None


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk."""

    path: Path
    """Its folder."""
    record: Mapping[str, Any] = field(repr=False)
    """Contents of its config.json."""

    @property
    def hash(self) -> str:
        """SHA-256 over the artifact's kind and files, 64 hex digits."""
        return str(self.record["hash"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return dict(self.record["config"])


def open_artifact(path: Path | Artifact, kind: str, *, check_files: bool = True) -> Artifact:
    """Open a finished artifact.

    Args:
        path: its folder; an artifact that is already open is returned as it is.
        kind: what it must be, for example ``"dataset"``.
        check_files: compare every file with its recorded SHA-256.

    Raises:
        TslrecError: there is no such artifact, it is of another kind, or a file is missing or changed.
    """
    if isinstance(path, Artifact):
        return path
    record = expect_artifact(path, kind)
    step(f"{'checking and reading' if check_files else 'reading'} {path}")
    for name, digest in record["files"].items() if check_files else ():
        if not (path / name).is_file():
            raise TslrecError(f"{path} lacks {name}; make the {kind} artifact again (--overwrite)")
        if sha256_of_file(path / name) != digest:
            raise TslrecError(f"{path / name} was changed or damaged after it was written; "
                              f"make the {kind} artifact again (--overwrite)")
    return Artifact(path, record)


def expect_artifact(path: Path, kind: str) -> dict[str, Any]:
    """Return the record of a finished artifact; its other files are not checked.

    Raises:
        TslrecError: there is no such artifact, or it is of another kind.
    """
    wanted, command = _with_article(kind), f"tslrec {'prepare' if kind == 'dataset' else kind}"
    if path.exists() and not path.is_dir():
        raise TslrecError(f"{path} is a file, not the folder of {wanted} artifact; run {command} first, and give its "
                          "output folder")
    if not path.is_dir():
        raise missing_path(path, f"expected the folder of {wanted} artifact, which {command} writes",
                           fits=lambda candidate: (_record(candidate) or {}).get("kind") == kind)
    if not (path / "config.json").is_file():
        below = [path / kind, *sorted(path.glob(f"{kind}/[!.]*"))]  # in a folder of tslrec run
        inside = next((folder for folder in below if (folder / "config.json").is_file()), None)
        raise TslrecError(f"{path} has no config.json: it is not {wanted} artifact; " + (
            f"did you mean {inside}?" if inside else f"give the folder that {command} wrote"))
    record = _record(path)
    if record is None:
        raise TslrecError(f"{path / 'config.json'} is not the record of an artifact; make {path} again")
    if record["kind"] != kind:
        raise TslrecError(f"{path} is {_with_article(record['kind'])} artifact; expected {wanted} artifact")
    return record


def refuse_other_dataset(artifact: Artifact, dataset_hash: str) -> None:
    """Raise TslrecError if an artifact was made from another data set; name that one if it is in a folder nearby."""
    wanted = artifact.record["inputs"].get("dataset")
    if wanted == dataset_hash:
        return
    near = (folder for above in artifact.path.resolve().parents[:2] for folder in sorted(above.glob("[!.]*")))
    own = next((folder for folder in near if (record := _record(folder)) and record["kind"] == "dataset"
                and record["hash"] == wanted), None)
    raise TslrecError(f"{artifact.path} was trained on another data set{f', {own}' if own else ''}; give that one, or "
                      f"run tslrec {artifact.record['kind']} on this one")


def _with_article(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


_RECORD = {"kind": str, "config": dict, "inputs": dict, "files": dict, "hash": str, "versions": dict}


def _record(path: Path) -> dict[str, Any] | None:
    """Return the record in a folder's config.json, or None if there is none or one of its hashes is wrong."""
    try:
        record: dict[str, Any] = read_json(path / "config.json")
        if not all(isinstance(record[key], kind) for key, kind in _RECORD.items()):
            return None
        intact = record["hash"] == sha256_of_json([record["kind"], record["files"]]) and (
            record.get(_OWN_HASH, own := _own_hash(record)) == own)  # records of older versions have no hash
    except (TslrecError, ValueError, TypeError, KeyError, AttributeError):  # another file of this name
        return None
    return record if intact else None


def _own_hash(record: Mapping[str, Any]) -> str:
    return sha256_of_json({key: value for key, value in record.items() if key != _OWN_HASH})


@dataclass(frozen=True)
class Recipe:
    """What an artifact is made from: two artifacts of one recipe are the same up to the machine's arithmetic."""

    kind: str
    config: Mapping[str, Any]
    """The fully resolved configuration, JSON-able."""
    inputs: Mapping[str, str]
    """Name -> hash of every input."""
    seed: int | None = None


def is_current(path: Path, recipe: Recipe) -> bool:
    """Return whether `path` is an undamaged artifact of this recipe and this version of the package."""
    try:
        record = open_artifact(path, recipe.kind).record
    except TslrecError:
        return False
    wanted = json.loads(json.dumps(asdict(recipe)))
    same_version = record.get("versions", {}).get("tslrec-min") == recorded_versions().get("tslrec-min")
    return same_version and all(record.get(key) == value for key, value in wanted.items())


@contextlib.contextmanager
def write_artifact(path: Path, recipe: Recipe, *, overwrite: bool = False, keep: bool = True,
                   started: float | None = None) -> Iterator[Path]:
    """Yield a temporary folder to write into; it becomes the artifact `path`, or is removed after an error.

    Args:
        path: the artifact's folder; parent folders are created.
        recipe: recorded in its config.json when the block ends, with the inputs that it has then.
        overwrite: replace an existing artifact of the same kind.
        keep: false discards the folder, in the processes of a run that do not write.
        started: what `start_measuring` returned, if the work began earlier.

    Raises:
        TslrecError: `path` exists and is not replaced, or another process is writing it.
    """
    if not keep:
        refuse_existing(path, recipe.kind, overwrite=overwrite)
        with tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    with contextlib.ExitStack() as until_written:
        with alone_in(path.parent):
            remove_leftovers(path)
            refuse_existing(path, recipe.kind, overwrite=overwrite)
            temporary.mkdir()
            until_written.callback(shutil.rmtree, temporary, ignore_errors=True)  # nothing is there after renaming
            until_written.enter_context(alone_in(temporary))
        started = start_measuring() if started is None else started
        yield temporary
        files = [file for file in temporary.rglob("*") if file.is_file()]
        synced = begun(partial(_sync_all, files))  # the disk takes longer than the hashes
        _write_record(temporary, recipe, started)
        synced()
        sync(temporary / "config.json")
        sync(temporary)
        _replace(temporary, path, recipe.kind, overwrite=overwrite)
        step(f"wrote {path}")


def _sync_all(files: Iterable[Path]) -> None:
    for file in files:
        sync(file)


def _write_record(folder: Path, recipe: Recipe, started: float) -> None:
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    files = {name: sha256_of_file(folder / name) for name in names}
    record = asdict(recipe) | {
        "hash": sha256_of_json([recipe.kind, files]), "files": files, "versions": recorded_versions(),
        "wall_seconds": round(time.monotonic() - started, 3), "peak_memory_mib": peak_memory_mib()}
    write_json(folder / "config.json", record | {_OWN_HASH: _own_hash(record)})


def _replace(temporary: Path, path: Path, kind: str, *, overwrite: bool) -> None:
    """Rename a finished folder to its final name; the old artifact is first moved aside, then removed."""
    replaced = path.parent / f"{temporary.name}{REPLACED}"
    with alone_in(path.parent):  # else another process might remove what is moved aside as a leftover
        refuse_existing(path, kind, overwrite=overwrite)  # another process may have written it in the meantime
        if path.exists():
            os.rename(path, replaced)
        os.rename(temporary, path)
    sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def refuse_existing(path: Path, kind: str, *, overwrite: bool) -> None:
    """Raise TslrecError if `path` exists, unless it is an artifact of this kind or an empty folder to overwrite."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise TslrecError(f"{path} already exists; give another --out, or --overwrite to replace it")
    record = _record(path) if path.is_dir() else None
    if record is not None and record["kind"] != kind:
        raise TslrecError(f"{path} is a {record['kind']} artifact, so --overwrite does not replace it with one of "
                          f"kind {kind}; give another --out")
    if record is None and (not path.is_dir() or any(path.iterdir())):
        raise TslrecError(f"{path} is not an artifact of tslrec, so --overwrite does not replace it; "
                          "remove it yourself or give another --out")


def recorded_versions() -> dict[str, str]:
    """Return the versions of Python, this package and its numerical dependencies, by name."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _RECORDED_VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
