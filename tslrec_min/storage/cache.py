"""Files that are made from others once and then kept in the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import TslrecError
from .artifacts import sha256_of_file


def made_once(target: Path, make: Callable[[Path], None]) -> str:
    """Return the SHA-256 of a file in the cache, which is made if it is absent or damaged.

    Args:
        target: the file; its SHA-256 is noted beside it.
        make: writes it; called with `target`.

    Raises:
        TslrecError: from `make`, or the folder can't be written.
    """
    note = target.with_name(target.name + ".sha256")
    if target.is_file() and note.is_file():
        sha256 = sha256_of_file(target)
        if note.read_text(encoding="ascii").strip() == sha256:
            return sha256
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        make(target)
        sha256 = sha256_of_file(target)
        note.write_text(sha256 + "\n", encoding="ascii")
    except OSError as error:
        raise TslrecError(f"{target.parent} can't be written: {error}; set TSLREC_CACHE to another folder") from None
    return sha256
