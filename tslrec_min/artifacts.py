"""Artifacts: folders that are whole or not there.

Every stage writes its outputs into a hidden folder beside the final one and renames it when all is written
and synced, so that a crash, Ctrl-C or ``kill -9`` leaves the old one (or, in the instant of a replacement, puts it
back at the next write), the new one, or none. ``config.json``
in each artifact holds the resolved configuration, the hashes of the inputs, the versions, the seed, the wall
time, the peak memory and a SHA-256 of every other file. The *artifact hash* is the hash of those file hashes:
it depends on contents alone, not on when, where or how fast they were made.
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
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .errors import TslrecError
from .progress import step

_RECORDED_VERSIONS = ("tslrec-min", "numpy", "torch", "transformers", "llama-cpp-python", "gguf")
_TEMPORARY = ".tmp-"
_REPLACED = "-replaced"


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON with a final newline; NaN and infinity are refused."""
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
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TslrecError(f"{path} can't be read as JSON: {error}") from None


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk."""

    path: Path
    """Its folder."""
    record: Mapping[str, Any] = field(repr=False)
    """The contents of its config.json."""

    @property
    def hash(self) -> str:
        """SHA-256 over the artifact's kind and files, 64 hex digits."""
        return str(self.record["hash"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that it was made with."""
        return dict(self.record["config"])


def open_artifact(path: Path, kind: str, *, check_files: bool = True) -> Artifact:
    """Open a finished artifact.

    Args:
        path: its folder.
        kind: the stage that must have written it, for example ``"dataset"``.
        check_files: compare every file with its recorded SHA-256.

    Raises:
        TslrecError: there is no such artifact, it is of another kind, or a file is missing or changed.
    """
    path = Path(path)
    if not path.is_dir():
        raise TslrecError(f"{path} does not exist; expected the folder of a {kind} artifact")
    if not (path / "config.json").is_file():
        raise TslrecError(f"{path} has no config.json: it is not a {kind} artifact; give the folder a stage wrote")
    record = _record(path)
    if record is None:
        raise TslrecError(f"{path / 'config.json'} is not the record of an artifact; make {path} again")
    if record["kind"] != kind:
        raise TslrecError(f"{path} is a {record['kind']} artifact; expected a {kind} artifact")
    step(f"checks and reads {path}" if check_files else f"reads {path}")
    for name, digest in record["files"].items() if check_files else ():
        if not (path / name).is_file():
            raise TslrecError(f"{path} lacks {name}; make the {kind} artifact again (--overwrite)")
        if sha256_of_file(path / name) != digest:
            raise TslrecError(f"{path / name} was changed or damaged after it was written; "
                              f"make the {kind} artifact again (--overwrite)")
    return Artifact(path, record)


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read an .npz file without pickle.

    Raises:
        TslrecError: it can't be read, or lacks one of `names`.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TslrecError(f"{path} can't be read as arrays: {error}; make its artifact again (--overwrite)") from None
    missing = [name for name in names if name not in arrays]
    if missing:
        raise TslrecError(f"{path} lacks {', '.join(missing)}; make its artifact again (--overwrite)")
    return arrays


def _record(path: Path) -> dict[str, Any] | None:
    """Return the record in a folder's config.json, or None if it is none or its hash is wrong."""
    try:
        record = read_json(path / "config.json")
    except TslrecError:
        return None
    expected = {"kind": str, "config": dict, "inputs": dict, "files": dict, "hash": str, "versions": dict}
    if not isinstance(record, dict) or not all(isinstance(record.get(key), of) for key, of in expected.items()):
        return None
    return record if record["hash"] == sha256_of_json([record["kind"], record["files"]]) else None


@dataclass(frozen=True)
class Recipe:
    """What an artifact is made of: two artifacts of one recipe are the same up to the machine's arithmetic."""

    kind: str
    """The stage's name."""
    config: Mapping[str, Any]
    """The fully resolved configuration, JSON-able."""
    inputs: Mapping[str, str]
    """Name -> hash of every input."""
    seed: int | None = None
    """The random seed, where the stage has one."""


def is_current(path: Path, recipe: Recipe) -> bool:
    """Return whether `path` is a whole artifact made by this recipe and this version of the package."""
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
    """Give a temporary folder to write into; on success it becomes the artifact `path`, on failure it goes.

    Args:
        path: the artifact's folder; its parents are made.
        recipe: what it is made of; recorded in its config.json.
        overwrite: replace an artifact that is already there; otherwise it is refused.
        keep: false throws the folder away in the end: for the processes of a run that another one writes for.
        started: what `start_measuring` returned when the work began, where that was before.

    Raises:
        TslrecError: `path` exists and `overwrite` is false, or it is no artifact and so is never replaced.
    """
    path = Path(path)
    if not keep:
        refuse_existing(path, recipe.kind, overwrite=overwrite)
        with tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    refuse_existing(path, recipe.kind, overwrite=overwrite)
    temporary = path.parent / f".{path.name}{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    started = start_measuring() if started is None else started
    try:
        yield temporary
        files = {name: sha256_of_file(temporary / name) for name in _files_below(temporary)}
        write_json(temporary / "config.json", asdict(recipe) | {
            "hash": sha256_of_json([recipe.kind, files]), "files": files, "versions": recorded_versions(),
            "wall_seconds": round(time.monotonic() - started, 3), "peak_memory_mib": peak_memory_mib(),
        })
        _sync(temporary)
        refuse_existing(path, recipe.kind, overwrite=overwrite)  # another process may have made it meanwhile
        replaced = path.parent / f"{temporary.name}{_REPLACED}"
        if path.exists():
            os.rename(path, replaced)
        os.rename(temporary, path)
        _sync_folder(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
        step(f"has written {path}")
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_existing(path: Path, kind: str, *, overwrite: bool) -> None:
    """Raise TslrecError if `path` may not be written: it exists, or it is something else than such an artifact."""
    path = Path(path)
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


def _files_below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file())


def recorded_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of what it computes with, by name."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _RECORDED_VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _remove_leftovers(path: Path) -> None:
    """Remove temporary folders of `path` whose process is gone (it was killed); put back what it was replacing."""
    for leftover in path.parent.glob(f".{path.name}{_TEMPORARY}*"):
        owner = leftover.name.rpartition(_TEMPORARY)[2].partition("-")[0]
        if not owner.isdigit() or _is_running(int(owner)):
            continue
        if leftover.name.endswith(_REPLACED) and not path.exists():
            os.rename(leftover, path)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(folder: Path) -> None:
    for name in _files_below(folder):
        with open(folder / name, "rb") as stream:
            os.fsync(stream.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_measuring() -> float:
    """Let wall time and peak memory count from now; returns the time, `time.monotonic`."""
    with contextlib.suppress(OSError):  # Linux: 5 resets the high-water mark that peak_memory_mib reads
        Path("/proc/self/clear_refs").write_text("5")
    return time.monotonic()


def peak_memory_mib() -> float:
    """Return the peak resident memory in MiB: of the current artifact on Linux, of the process elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
