"""The processes that torchrun started, which share the work of one run; a single process otherwise.

Every process holds the whole model and data set, and works out the same plan from the same seed; a batch and the
evaluated users are divided by rank, and only gradients and counts travel (gloo on CPUs, nccl on GPUs).
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import distributed

from ..errors import TslrecError

_SMALL = 1 << 20
"""Most numbers of a tensor that is copied to travel with others: their messages take longer than their copies."""


def start_processes(device: str) -> str:
    """Join the other processes if torchrun started this one.

    Returns:
        The name of this process's device: of several GPUs the one of its local rank.
    """
    if not distributed.is_torchelastic_launched():
        return device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        atexit.register(_leave)
    return device


def _leave() -> None:
    """Close the connections: left to the interpreter's end, gloo's threads now and then abort the process there."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def refuse_several_processes() -> None:
    """Raise TslrecError if torchrun started more processes than this one."""
    if distributed.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TslrecError("this command does not share its work between processes; run it without torchrun")


def rank() -> int:
    """Return the number of this process, from 0; 0 writes files and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(rows: np.ndarray) -> np.ndarray:
    """Return this process's part of `rows`: one of every `world_size`."""
    return rows[rank()::world_size()]


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        distributed.barrier()


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each of the `tensors`, of the same shape in every process, by its sum over all processes.

    They are of one type and device. Small ones travel together: each message takes its time, whatever is in it.
    """
    if world_size() == 1:
        return
    small: list[torch.Tensor] = []
    messages: list[torch.Tensor] = []
    for tensor in tensors:
        (small if tensor.numel() <= _SMALL else messages).append(tensor)
    if small:
        messages.append(torch.cat([tensor.reshape(-1) for tensor in small]))
    for work in [distributed.all_reduce(message, async_op=True) for message in messages]:
        work.wait()
    if small:
        for tensor, total in zip(small, messages[-1].split([tensor.numel() for tensor in small]), strict=True):
            tensor.copy_(total.view_as(tensor))


def gradients(parameters: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return the parameters' gradients; where none came to this process, zeros that will be it."""
    found = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        found.append(parameter.grad)
    return found


def of_first_process(numbers: list[float], device: torch.device) -> list[float]:
    """Return the first process's numbers, of which all have as many."""
    if world_size() == 1:
        return numbers
    message = torch.tensor(numbers, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    distributed.broadcast(message, 0)
    return message.tolist()


def gather_shares(part: np.ndarray, rows: np.ndarray, n_rows: int, device: torch.device) -> np.ndarray:
    """Return int64 [n_rows], put together from the shares of all processes.

    Args:
        part: this process's share, int64 [n].
        rows: where it belongs, int64 [n].
        n_rows: length of the whole.
        device: where the processes exchange it.
    """
    whole = np.zeros(n_rows, dtype=np.int64)
    whole[rows] = part
    if world_size() == 1:
        return whole
    message = torch.from_numpy(whole).to(device)
    distributed.all_reduce(message)
    return message.cpu().numpy()
