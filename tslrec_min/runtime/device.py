"""Processors, threads and torch devices of a process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import TslrecError

if TYPE_CHECKING:
    import torch


def usable_processors() -> int:
    """Return the number of processors this process may use: its share, if torchrun started several."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def start_torch(device: str, threads: int, *, processes: bool = False) -> torch.device:
    """Load torch, set its threads and return the device; `processes` joins those of torchrun, else several are refused.

    Raises:
        TslrecError: the device can't be used, or several processes are refused.
    """
    import torch

    from .distributed import refuse_several_processes, start_processes

    torch.set_num_threads(threads)
    if processes:
        return resolve_device(start_processes(device))
    refuse_several_processes()
    return resolve_device(device)


def resolve_device(name: str) -> torch.device:
    """Return a torch device.

    Raises:
        TslrecError: it is unknown or this machine does not have it.
    """
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise TslrecError(f"--device {name} can't be used: {str(error).splitlines()[0]}; try --device cpu") from None
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the frozen weights.

    ``auto`` is bfloat16 on GPUs that support it and on CPUs with instructions for it (AMX, AVX512-BF16), else float32,
    which was faster with AVX2 and plain AVX-512 (``benchmarks/precision.py``).
    """
    import torch

    if name != "auto":
        return torch.float32 if name == "fp32" else torch.bfloat16
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        fast = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if fast else torch.float32
