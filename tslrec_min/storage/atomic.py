"""Files and folders that are whole or not there: temporary names, what killed processes leave, one writer at a time.

Locks are `flock`, so the kernel lets go of them however a process ends; those of artifacts are on folders, where no
lock file could stay behind. A process id in a temporary name says no more than who it was: ids are used again, after a
restart of a container even the same.
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
except ModuleNotFoundError:  # Windows: as on a file system without locks
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".tmp-"
REPLACED = "-replaced"


def temporary_beside(path: Path) -> Path:
    """Return a new hidden name beside `path` for what is to become it; it holds the process id."""
    return path.parent / f".{path.name}{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}"


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file to write to; on success it replaces the file, on failure it goes."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def output_files(*paths: Path, overwrite: bool = False) -> Iterator[Sequence[Path]]:
    """Give a temporary name beside each path to write to; on success they are renamed, on failure they go.

    Args:
        paths: single files to be, such as recommendations; their folders are made.
        overwrite: replace files that are there; otherwise they are refused.

    Raises:
        TslrecError: one of `paths` exists and `overwrite` is false, or it is a folder, a device or the like.
    """
    for path in paths:
        _refuse(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
    with contextlib.ExitStack() as renamed:  # which ends what was entered last first
        temporary = [renamed.enter_context(replace_file(path)) for path in reversed(paths)][::-1]
        yield temporary
        for file in temporary:
            sync_file(file)  # before an old file goes
        for path in paths:
            _refuse(path, overwrite)  # another process may have written it meanwhile
        for path in paths if len(paths) > 1 else ():
            path.unlink(missing_ok=True)  # killed in between, an old file must not stand beside a new one


def _refuse(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise TslrecError(f"{path} is a folder; give the name of a file as --out")
    if path.exists() and not path.is_file():  # renaming would put a file in the place of /dev/null
        raise TslrecError(f"{path} is a device or a pipe; give the name of a file as --out")
    if os.path.lexists(path) and not overwrite:
        raise TslrecError(f"{path} already exists; give another --out, or --overwrite to replace it")


def lock(descriptor: int, *, wait: bool = True) -> bool:
    """Take the lock of an open file or folder; it is let go of when that is closed.

    Returns:
        False: the file system has no locks.

    Raises:
        BlockingIOError: another process has it, and it is not waited for.
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
    """Hold a lock on a folder, waiting for it: for moments in which names in it are looked at and changed, or, on a
    temporary folder, while a process is at work in it, so that `remove_leftovers` leaves it alone.

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
    """Keep other runs out of a folder during a block; it is made if need be.

    Raises:
        TslrecError: another one is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            lock(file.fileno(), wait=False)
        except BlockingIOError:
            raise TslrecError(f"another tslrec run is at work in {folder}; wait for its end, or give another --out"
                              ) from None
        yield


def remove_leftovers(path: Path) -> None:
    """Remove temporary files and folders of `path` that nobody is at work in; put back one that was being replaced.

    Raises:
        TslrecError: a process is at work in one: it is writing `path`.
    """
    begin = f".{path.name}{TEMPORARY}"
    for leftover in [entry for entry in path.parent.iterdir() if entry.name.startswith(begin)]:
        owner = leftover.name.removeprefix(begin).partition("-")[0]
        if not owner.isdecimal():
            continue
        if leftover.is_dir() and _is_at_work(leftover, int(owner)):
            raise TslrecError(f"another process (number {owner}) is writing {path}; wait for its end, or give another "
                              "--out")
        if leftover.name.endswith(REPLACED) and not path.exists():
            os.rename(leftover, path)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        elif not _is_running(int(owner)):
            leftover.unlink(missing_ok=True)


def _is_at_work(folder: Path, process_id: int) -> bool:
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


def sync(folder: Path) -> None:
    """Bring a folder and all files in it to the disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            sync_file(file)
    sync_folder(folder)


def sync_file(file: Path) -> None:
    """Bring what is in a file to the disk."""
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
