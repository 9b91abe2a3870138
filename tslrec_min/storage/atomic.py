"""Files and folders that are complete or do not exist: temporary names, leftovers of killed processes, locks.

Locks are `flock`, so the kernel releases them however a process ends; those of artifacts are on folders, so that no
lock file stays behind. The process id in a temporary name proves nothing, since ids are reused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import TslrecError

try:
    import fcntl
except ModuleNotFoundError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".tmp-"
REPLACED = "-replaced"


def temporary_beside(path: Path) -> Path:
    """Return a new hidden name beside `path` to write to; it contains the process id."""
    return path.parent / f".{path.name}{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}"


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; it replaces the file `path`, or is removed after an error."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def output_files(*paths: Path, overwrite: bool = False) -> Iterator[Sequence[Path]]:
    """Yield a temporary name for each of `paths`; they are renamed together, or removed after an error.

    Raises:
        TslrecError: one of `paths` exists and `overwrite` is false, or it is a folder, a device or the like.
    """
    for path in paths:
        _refuse(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
    with contextlib.ExitStack() as renamed:  # exits in reverse order
        temporary = [renamed.enter_context(replace_file(path)) for path in reversed(paths)][::-1]
        yield temporary
        for file in temporary:
            sync(file)  # before an old file is removed
        for path in paths:
            _refuse(path, overwrite)  # another process may have written it in the meantime
        for path in paths if len(paths) > 1 else ():
            path.unlink(missing_ok=True)  # so that being killed in between never leaves an old file beside a new one


def _refuse(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise TslrecError(f"{path} is a folder; give the name of a file as --out")
    if path.exists() and not path.is_file():  # renaming would replace /dev/null by a file
        raise TslrecError(f"{path} is a device or a pipe; give the name of a file as --out")
    if os.path.lexists(path) and not overwrite:
        raise TslrecError(f"{path} already exists; give another --out, or --overwrite to replace it")


def lock(descriptor: int, *, wait: bool = True) -> bool:
    """Lock an open file or folder until it is closed; return False if the file system has no locks.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is false.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait for the lock of a folder and hold it: to change names in it, or so that `remove_leftovers` keeps it.

    On a file system without locks the block runs without one.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Create a folder if necessary, and lock it for one run.

    Raises:
        TslrecError: another run has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            lock(file.fileno(), wait=False)
        except BlockingIOError:
            raise TslrecError(f"another tslrec run is using {folder}; wait until it ends, or give another --out"
                              ) from None
        yield


def remove_leftovers(path: Path) -> None:
    """Remove temporary files and folders of `path` that no process uses; restore an artifact that was being replaced.

    Raises:
        TslrecError: another process is writing `path`.
    """
    begin = f".{path.name}{TEMPORARY}"
    for leftover in [entry for entry in path.parent.iterdir() if entry.name.startswith(begin)]:
        owner = leftover.name.removeprefix(begin).partition("-")[0]
        if not owner.isdecimal():
            continue
        if leftover.is_dir() and _is_in_use(leftover, int(owner)):
            raise TslrecError(f"another process (number {owner}) is writing {path}; wait until it ends, or give "
                              "another --out")
        if leftover.name.endswith(REPLACED) and not path.exists():
            os.rename(leftover, path)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        elif not _is_running(int(owner)):
            leftover.unlink(missing_ok=True)


def _is_in_use(folder: Path, process_id: int) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not lock(descriptor, wait=False) and process_id != os.getpid() and _is_running(process_id)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sync(path: Path) -> None:
    """Flush a file's contents, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
