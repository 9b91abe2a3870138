"""Quantisation of GGUF files by llama.cpp itself."""

from __future__ import annotations

import ctypes
import os
import uuid
from pathlib import Path

import llama_cpp

from ..errors import TslrecError
from ..llama_log import captured_llama_log

QUANTS = {
    "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
    "BF16": llama_cpp.LLAMA_FTYPE_MOSTLY_BF16,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q5_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
}


def quantize(source: Path, target: Path, quant: str = "Q8_0", *, threads: int) -> None:
    """Quantise a GGUF file; the target appears under its name when it is whole.

    Args:
        source: an f16 or f32 GGUF; one that is quantised already is refused.
        target: the file to write; replaced if it exists.
        quant: a name in `QUANTS`.
        threads: at least 1.

    Raises:
        TslrecError: llama.cpp refuses the file; the message holds its last error lines.
    """
    if quant not in QUANTS:
        raise TslrecError(f"the quantisation is {quant!r}; expected one of {', '.join(QUANTS)}")
    source, target = Path(source), Path(target)
    if not source.is_file():
        raise TslrecError(f"{source} does not exist; give a .gguf file")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = QUANTS[quant]
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        with captured_llama_log() as log:
            failed = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(temporary),
                                                    ctypes.byref(parameters))
        if failed or not temporary.is_file():
            raise TslrecError(f"llama.cpp could not quantise {source} to {quant}: {log}; write the "
                              "model again as f16")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
