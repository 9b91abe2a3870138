"""Single output files, such as recommendations: whole or not there, as artifacts are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import TslrecError
from .atomic import remove_leftovers, temporary_beside


@contextlib.contextmanager
def output_files(*paths: Path, overwrite: bool = False) -> Iterator[Sequence[Path]]:
    """Give a temporary name beside each path to write to; on success they are renamed, on failure they go.

    Args:
        paths: the files to be; their folders are made.
        overwrite: replace files that are there; otherwise they are refused.

    Raises:
        TslrecError: one of `paths` exists and `overwrite` is false, or it is a folder, a device or the like.
    """
    for path in paths:
        _refuse(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
    temporary = [temporary_beside(path) for path in paths]
    try:
        yield temporary
        for written in temporary:
            with open(written, "rb") as stream:
                os.fsync(stream.fileno())
        for path in paths:
            _refuse(path, overwrite)  # another process may have written it meanwhile
        for path in paths if len(paths) > 1 else ():
            path.unlink(missing_ok=True)  # killed in between, an old file must not stand beside a new one
        for written, path in zip(temporary, paths, strict=True):
            os.replace(written, path)
    except BaseException:
        for written in temporary:
            written.unlink(missing_ok=True)
        raise


def _refuse(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise TslrecError(f"{path} is a folder; give the name of a file as --out")
    if path.exists() and not path.is_file():  # renaming would put a file in the place of /dev/null
        raise TslrecError(f"{path} is a device or a pipe; give the name of a file as --out")
    if os.path.lexists(path) and not overwrite:
        raise TslrecError(f"{path} already exists; give another --out, or --overwrite to replace it")
