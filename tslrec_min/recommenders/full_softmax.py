"""Cross-entropy over all items with its gradients, without the scores of a batch: float32 on a CPU.

    loss = sum over positions of log(sum over items of e^score) - score of the target

Scores are made tile by tile and exponentiated while they are in the cache. As in FlashAttention (Dao et al., NeurIPS
2022, arXiv 2205.14135) they count from a reference for the row that is raised on the way, so that one pass is enough
for the loss and the gradient by the states; unlike there, the exponentials of a few hundred rows are kept for the
gradient by the items, which costs less than to compute them again. csrc/softmax_isa.h has the formulas and the tiles.

Errors against float64, as tests have it: of the loss at most 1e-6 of it, of a gradient at most 1e-5 of its largest
element, where scores are exact enough for that: float32 rounds a score of 1e4 to 1e-3. Results don't depend on the
number of threads.
"""

from __future__ import annotations

import numpy as np
import torch

from ..runtime.validation import check_range, threads_for
from . import _full_softmax

_THREAD_PRODUCTS = 1 << 21
"""Products per thread, a tenth of a millisecond's work; fewer are not worth waking a thread."""

_ISA = len(_full_softmax.instruction_sets()) - 1
"""The kernel's instruction set, an index of instruction_sets(): the fastest that this CPU has."""


def full_softmax(states: torch.Tensor, item_table: torch.Tensor, targets: torch.Tensor, num_threads: int = 1
                 ) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Return the sum of the losses and its gradients by the states and by the item table.

    Args:
        states: float32 [M, d], on the CPU as all three.
        item_table: float32 [I+1, d], I and d at least 1; the padding row takes no part, its gradient is 0.
        targets: int64 [M], in 1..I.
        num_threads: threads of the kernel.

    Returns:
        The loss, float32 [M, d] and float32 [I+1, d].

    Raises:
        ValueError: an argument doesn't fit the others.
    """
    _check(states, item_table, targets)
    (n_rows, width), n_items = states.shape, len(item_table) - 1
    check_range("targets", _array(targets), 1, n_items)
    if not n_rows:
        return 0.0, torch.zeros_like(states), torch.zeros_like(item_table)
    states, item_table, targets = states.contiguous(), item_table.contiguous(), targets.contiguous()
    item_rows, item_columns, *sizes = _full_softmax.plan(n_rows, n_items, width, _ISA)
    shared, sums, own = sizes
    threads = threads_for(3 * n_rows * n_items * width, num_threads, _THREAD_PRODUCTS)
    losses, state_gradient = np.empty(n_rows), states.new_empty(states.shape)
    table_gradient = states.new_empty(1 + item_rows, item_columns)
    table_gradient[0] = 0
    _full_softmax.full_softmax(_array(states), _array(item_table)[1:], _array(targets), losses, _array(state_gradient),
                               _array(table_gradient)[1:], _array(states.new_empty(shared)), np.empty(sums),
                               _array(states.new_empty(threads, own)), _ISA)
    return float(losses.sum()), state_gradient, table_gradient[:n_items + 1, :width].contiguous()


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().numpy()


def _check(states: torch.Tensor, item_table: torch.Tensor, targets: torch.Tensor) -> None:
    """Raise ValueError unless types and shapes agree."""
    for name, values, dtype, dimensions in (("states", states, torch.float32, 2),
                                            ("item_table", item_table, torch.float32, 2),
                                            ("targets", targets, torch.int64, 1)):
        if values.dtype != dtype or values.dim() != dimensions or values.device.type != "cpu":
            raise ValueError(f"{name} is {values.dtype} of shape {tuple(values.shape)} on {values.device}; expected "
                             f"{dtype} with {dimensions} dimensions on the CPU")
    if len(item_table) < 2 or not states.shape[1] or states.shape[1] != item_table.shape[1]:
        raise ValueError(f"states are {tuple(states.shape)}, item_table is {tuple(item_table.shape)}; expected [M, d] "
                         "and [I+1, d] with at least one item")
    if len(targets) != len(states):
        raise ValueError(f"{len(targets)} targets for {len(states)} states; expected one for each")
