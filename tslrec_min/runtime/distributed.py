"""The processes that torchrun started, which share the work of one run; a single process otherwise.

Every process holds the whole model and data set, and makes the same plan from the same seed. Batches and evaluated
users are divided by rank; only gradients and counts are exchanged (gloo on CPUs, nccl on GPUs).
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
"""Maximum size of a tensor that is sent together with others: copying it is faster than a message of its own."""


def start_processes(device: str) -> str:
    """Join the other processes if torchrun started this one, and return the device: the GPU of the local rank."""
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
    """Close the connections: otherwise gloo's threads sometimes abort the process when the interpreter exits."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def refuse_several_processes() -> None:
    """Raise TslrecError if torchrun started more than one process."""
    if distributed.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TslrecError("this command does not support several processes; run it without torchrun")


def rank() -> int:
    """Return the number of this process, from 0; process 0 writes files and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(rows: np.ndarray) -> np.ndarray:
    """Return this process's share of `rows`: every `world_size`-th one."""
    return rows[rank()::world_size()]


def wait_for_all() -> None:
    """Wait until every process has called this."""
    if world_size() > 1:
        distributed.barrier()


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each of the `tensors` by its sum over all processes; its shape is the same in all.

    All have one dtype and device. Small ones are sent together, as a message has a fixed cost.
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
    """Return the parameters' gradients; those missing in this process become zeros."""
    grads = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        grads.append(parameter.grad)
    return grads


def of_first_process(numbers: list[float], device: torch.device) -> list[float]:
    """Return the first process's numbers; every process gives the same number of them."""
    if world_size() == 1:
        return numbers
    message = torch.tensor(numbers, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    distributed.broadcast(message, 0)
    return message.tolist()


def gather_shares(part: np.ndarray, rows: np.ndarray, n_rows: int, device: torch.device) -> np.ndarray:
    """Return int64 [n_rows], combined from the shares of all processes.

    Args:
        part: this process's share, int64 [n].
        rows: its rows in the result, int64 [n].
        n_rows: length of the result.
        device: for the exchange.
    """
    whole = np.zeros(n_rows, dtype=np.int64)
    whole[rows] = part
    if world_size() == 1:
        return whole
    message = torch.from_numpy(whole).to(device)
    distributed.all_reduce(message)
    return message.cpu().numpy()
