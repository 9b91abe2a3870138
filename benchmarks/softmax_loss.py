"""Loss over all items with its gradients: `tslrec_min.recommenders.full_softmax` against chunks of torch's operations.

States and items are random, from a fixed seed; the shapes are those of a training step of SASRec on Amazon Beauty and
on MovieLens-1M. Both ways and a product of two 2048 x 2048 matrices take turns in one process; speeds count the three
products of M x I x d. The last columns are the kernel's differences from torch in float64, of the loss relative to it
and of the gradients to their largest element.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from unittest import mock

import torch
from _data import medians

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.recommenders import losses

SHAPES = ((900, 12_101, 64), (900, 12_101, 128), (3000, 3416, 64))
"""Positions with a target M, items I and width d."""


def loss_and_gradients(parts: tuple[torch.Tensor, ...], kernel: bool) -> tuple[torch.Tensor, ...]:
    """Return the loss and its gradients by states and item table, by the kernel or by torch."""
    states, items, targets = parts
    with mock.patch.object(losses, "_for_kernel", lambda *_: kernel):
        loss = losses.full_softmax_loss(states, items, targets)
    return (loss.detach(), *torch.autograd.grad(loss, (states, items)))


def row_of(shape: tuple[int, int, int], repeats: int, product: Callable[[], object]) -> list[str]:
    """Measure one shape and lay out its row."""
    n_rows, n_items, width = shape
    torch.manual_seed(0)
    states, items = torch.randn(n_rows, width, requires_grad=True), torch.randn(n_items + 1, width) * width**-0.5
    parts = states, items.requires_grad_(), torch.randint(1, n_items + 1, (n_rows,))
    exact = loss_and_gradients((*(part.detach().double().requires_grad_() for part in parts[:2]), parts[2]), False)
    found = loss_and_gradients(parts, True)
    errors = [((one - other).abs().max() / other.abs().max()).item() for one, other in zip(found, exact, strict=True)]
    seconds = medians({"torch": lambda: loss_and_gradients(parts, False),
                       "kernel": lambda: loss_and_gradients(parts, True), "product": product}, repeats, 0.02)
    speed, peak = 6 * n_rows * n_items * width / seconds["kernel"], 2 * 2048**3 / seconds["product"]
    return [f"{n_rows} x {n_items:,} x {width}", f"{1e3 * seconds['torch']:.0f}", f"{1e3 * seconds['kernel']:.0f}",
            f"{seconds['torch'] / seconds['kernel']:.2f}", f"{speed / 1e9:.0f}", f"{peak / 1e9:.0f}",
            f"{speed / peak:.0%}", f"{errors[0]:.0e}", f"{max(errors[1:]):.0e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds (default: 9)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all processors)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    rows = [row_of(shape, arguments.repeats, lambda: left @ right) for shape in SHAPES]
    print(f"{arguments.threads} threads, torch {torch.__version__}, median of {arguments.repeats}\n")
    print(table(("M x I x d", "torch ms", "kernel ms", "torch / kernel", "kernel GFLOP/s", "2048^3 product", "of it",
                 "error of loss", "of gradients"), rows))


if __name__ == "__main__":
    main()
