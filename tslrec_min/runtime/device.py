"""What a process computes with: its processors, torch's threads, a device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import TslrecError

if TYPE_CHECKING:
    import torch


def usable_processors() -> int:
    """Return the number of processors this process may use: its part, if torchrun started several."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def start_torch(device: str, threads: int, *, processes: bool = False) -> torch.device:
    """Load torch, set its threads and return the device.

    Args:
        device: its name.
        threads: of torch.
        processes: join those that torchrun started, else refuse them.

    Raises:
        TslrecError: the device can't be used, or there are several processes.
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
        TslrecError: it is unknown or this machine lacks it.
    """
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise TslrecError(f"--device {name} can't be used: {str(error).splitlines()[0]}; try --device cpu") from None
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the frozen weights.

    ``auto`` is bfloat16 on GPUs that have it and on CPUs with instructions for it (AMX, AVX512-BF16), else float32:
    with AVX2 or plain AVX-512 it was slower than float32 (``benchmarks/precision.py``).
    """
    import torch

    if name == "fp32":
        return torch.float32
    if name == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return torch.float32
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if fast else torch.float32
