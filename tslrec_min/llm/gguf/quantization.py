"""Quantisation of GGUF files by llama.cpp itself."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import llama_cpp
from gguf import GGMLQuantizationType

from ... import configs
from ...errors import TslrecError
from ...storage.atomic import replace_file
from ..llama_log import captured_llama_log
from .reader import check_gguf, gguf_reader

LLAMA_TYPES = {name: getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}") for name in configs.QUANTS}
"""llama.cpp's constants for `configs.QUANTS`."""
_SLOW = (GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q5_1)
"""Types that llama.cpp multiplies row by row on a CPU, at most half as fast as Q8_0."""


def quant_for_speed(path: Path) -> str | None:
    """Return ``"Q8_0"`` if most of the layers' weights have types that are slow in llama.cpp, else None.

    Raises:
        TslrecError: the file can't be read.
    """
    with gguf_reader(path) as reader:
        sizes = [(tensor.tensor_type, int(tensor.n_bytes)) for tensor in reader.tensors
                 if tensor.name.startswith("blk.")]
    slow = sum(size for kind, size in sizes if kind in _SLOW)
    return "Q8_0" if 2 * slow > sum(size for _, size in sizes) else None


def quantize(source: Path, target: Path, quant: str = "Q8_0", *, threads: int, again: bool = False) -> None:
    """Quantise a GGUF file.

    Args:
        source: an f16 or f32 GGUF; a quantised one is refused, unless `again`.
        target: the file to write; it appears once complete, and replaces an older one.
        quant: a name in `LLAMA_TYPES`.
        threads: at least 1.
        again: accept a quantised file; its weights are rounded a second time.

    Raises:
        TslrecError: llama.cpp refuses the file; the message holds its last error lines.
    """
    if quant not in LLAMA_TYPES:
        raise TslrecError(f"the quantisation is {quant!r}; expected one of {', '.join(LLAMA_TYPES)}")
    source, target = Path(source), Path(target)
    check_gguf(source)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = LLAMA_TYPES[quant]
    parameters.allow_requantize = again
    with replace_file(target) as temporary:
        with captured_llama_log() as log:
            failed = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(temporary),
                                                    ctypes.byref(parameters))
        if failed or not temporary.is_file():
            raise TslrecError(f"llama.cpp could not quantise {source} to {quant}: {log}; write the "
                              "model again as f16")
