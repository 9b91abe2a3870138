"""The processes that torchrun started, which share the work of one run; a single process otherwise.

Every process holds the whole model and data set, and works out the same plan from the same seed; a batch and the
evaluated users are divided by rank, and only sums of gradients and counts travel (gloo on CPUs, nccl on GPUs).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import distributed


def start_processes(device: torch.device) -> torch.device:
    """Join the other processes if torchrun started this one, which shows in the environment's WORLD_SIZE.

    Returns:
        The device of this process: on a machine with several GPUs the one of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def rank() -> int:
    """Return the number of this process, from 0; 0 writes files and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(n_rows: int) -> slice:
    """Return this process's part of `n_rows` rows."""
    bounds = [n_rows * part // world_size() for part in (rank(), rank() + 1)]
    return slice(*bounds)


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        distributed.barrier()


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one message."""
    if world_size() == 1:
        return
    parts = list(tensors)
    message = torch.cat([part.reshape(-1) for part in parts])
    distributed.all_reduce(message)
    for part, summed in zip(parts, message.split([part.numel() for part in parts]), strict=True):
        part.copy_(summed.view_as(part))


def gather_rows(rows: np.ndarray, n_rows: int, device: torch.device) -> np.ndarray:
    """Return the rows of all processes, [n_rows, ...], from those of `share`."""
    if world_size() == 1:
        return rows
    whole = torch.zeros((n_rows, *rows.shape[1:]), dtype=torch.from_numpy(rows).dtype, device=device)
    whole[share(n_rows)] = torch.from_numpy(rows).to(device)
    distributed.all_reduce(whole)
    return whole.cpu().numpy()
