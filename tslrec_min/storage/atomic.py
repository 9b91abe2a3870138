"""Writing beside a target: temporary names, what killed processes leave behind, one writer at a time.

Locks are `flock`, so the kernel lets go of them however a process ends; those of artifacts are on folders. A process id
in a temporary name says no more than who it was: ids are used again, after a restart of a container even the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..errors import TslrecError

TEMPORARY = ".tmp-"
REPLACED = "-replaced"


def temporary_beside(path: Path) -> Path:
    """Return a new hidden name beside `path` for what is to become it; it holds the process id."""
    return path.parent / f".{path.name}{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, waiting for it: for moments in which names in it are looked at and changed, or, on a
    temporary folder, while a process is at work in it, so that `remove_leftovers` leaves it alone.

    On a file system without locks the block runs without one.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
    name = folder / ".lock"
    with open(name, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TslrecError(f"another tslrec run is at work in {folder}; wait for its end, or give another --out"
                              ) from None
        except OSError:  # a file system without locks
            pass
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
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return process_id != os.getpid() and _is_running(process_id)
    finally:
        os.close(descriptor)
    return False


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
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
