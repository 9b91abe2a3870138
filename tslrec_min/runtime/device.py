"""What a process computes with: its processors, torch's threads, a device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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

    from ..recommenders.training import resolve_device
    from .distributed import refuse_several_processes, start_processes

    torch.set_num_threads(threads)
    if processes:
        return resolve_device(start_processes(device))
    refuse_several_processes()
    return resolve_device(device)
