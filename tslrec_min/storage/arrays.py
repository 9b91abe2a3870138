"""NumPy arrays in files, read without pickle and within bounds, whatever a file contains."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import TslrecError
from .expansion import MAX_EXPANSION, max_expanded


def load_array(path: Path) -> np.ndarray:
    """Read an .npy file.

    Raises:
        TslrecError: it can't be read as an array, or holds objects.
    """
    try:
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays")
    except Exception as error:  # the errors of numpy, zipfile and tokenize share no base class
        raise _unreadable(path, error) from None
    return array


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read an .npz file.

    Raises:
        TslrecError: it can't be read, expands beyond `max_expanded`, or lacks one of `names`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            expanded = sum(member.file_size for member in archive.infolist())
            if expanded > max_expanded(path.stat().st_size):
                raise ValueError(f"it expands to {expanded:,} bytes, more than {MAX_EXPANSION} times its size")
            arrays = {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}
    except Exception as error:  # as above
        raise _unreadable(path, error) from None
    if missing := [name for name in names if name not in arrays]:
        raise TslrecError(f"{path} lacks {', '.join(missing)} (it has {', '.join(arrays) or 'no array'}); make it "
                          "again")
    return arrays


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an array to the end of its member, where zipfile verifies the checksum; `np.load` stops before it."""
    with archive.open(name) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"{name} has more bytes than its array")
    return array


def _unreadable(path: Path, error: Exception) -> TslrecError:
    if isinstance(error, FileNotFoundError):
        return TslrecError(f"{path} does not exist; make it again")
    return TslrecError(f"{path} can't be read as arrays ({str(error) or type(error).__name__}); it is damaged, of "
                       "another kind, or holds objects, which are never unpickled: make it again")
