"""Tensors in safetensors files: nothing is unpickled, and anything wrong with a file or disk is a TslrecError."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import TslrecError


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, of any device, under their names.

    Raises:
        TslrecError: the file can't be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.touch()
        mode = path.stat().st_mode  # the user's default; safetensors makes files private
        save_file(plain, path, None if metadata is None else dict(metadata))
        path.chmod(mode)
    except (SafetensorError, OSError) as error:
        raise TslrecError(f"{path} can't be written ({error}); check the free space and repeat the command"
                          ) from None


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a file.

    Raises:
        TslrecError: it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError, MemoryError) as error:
        raise TslrecError(f"{path} can't be read as safetensors: {error}; it is damaged or of another kind: make it "
                          "again") from None
