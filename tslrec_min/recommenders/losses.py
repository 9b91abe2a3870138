"""Losses of sequential recommenders and of the preference head.

The losses over items are sums over the positions with a target, so that processes that share a batch can add theirs
up. Positions are handled in chunks: the gradient of a chunk is computed right after its loss, so that the scores of
one chunk are all that is in memory, and nothing is computed twice. The loss over all items of float32 tensors on a CPU
is a kernel's (`full_softmax`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from .full_softmax import full_softmax

CHUNK_BYTES = {"cpu": 4 << 20}
_DEVICE_CHUNK_BYTES = 256 << 20
"""Size of one chunk's scores by type of device: about a CPU's cache, or enough to keep a GPU busy."""
_MINIMUM_ROWS = 64
"""Of a chunk: with fewer the matrix products would be slow; with a huge catalogue no chunk fits a cache anyway."""

PairLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Scores of the targets, float [m], and of their negatives, float [m, k] -> sum of the losses, float scalar."""


def full_softmax_loss(states: torch.Tensor, item_table: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all items, summed over positions.

    Args:
        states: float [M, d].
        item_table: float [I+1, d]; the padding row takes no part.
        targets: int64 [M], in 1..I.

    Returns:
        float32 scalar.

    Raises:
        ValueError: shapes don't agree, or a target is no item; checked where the kernel computes.
    """
    loss: torch.Tensor = _FullSoftmax.apply(states, item_table, targets)
    return loss


def sampled_loss(states: torch.Tensor, item_table: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor,
                 pair_loss: PairLoss, log_weights: torch.Tensor | None = None, offsets: torch.Tensor | None = None
                 ) -> torch.Tensor:
    """Loss of each target against its negatives, summed over positions.

    Args:
        states: float [M, d].
        item_table: float [I+1, d].
        targets: int64 [M], in 1..I.
        negatives: int64 [M, k], of each position, or [k], shared by all; a shared one does not count where it is the
            target.
        pair_loss: `sampled_softmax`, or made by `binary_cross_entropy`.
        log_weights: float [I+1], added to the scores of negatives. For sampled_softmax minus the logarithm of an item's
            probability (log-Q correction: Bengio and Senecal, IEEE TNN 19(4), 2008; for recommenders Yi et al., RecSys
            2019), so that the sum over the negatives estimates that over all items.
        offsets: float [M], added to the scores of a position's negatives: the user's part of the correction.

    Returns:
        float32 scalar.
    """
    loss: torch.Tensor = _Sampled.apply(states, item_table, targets, negatives, pair_loss, log_weights, offsets)
    return loss


def sampled_softmax(target_scores: torch.Tensor, negative_scores: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the target among itself and its negatives, summed over positions.

    Args:
        target_scores: float [M].
        negative_scores: float [M, k].
    """
    return (torch.logsumexp(torch.cat([target_scores[:, None], negative_scores], dim=1), dim=1) - target_scores).sum()


def binary_cross_entropy(n_negatives: int, n_items: int = 2, calibration: float = 0.0) -> PairLoss:
    """Return the generalised binary cross-entropy gBCE_t (Petrov and Macdonald, RecSys 2023, arXiv 2308.07192).

    With sampling rate ``alpha = k / (I - 1)``, at most 1, and ``beta = alpha (t (1 - 1/alpha) + 1/alpha)``, the loss
    of a position is ``-(beta log sigmoid(s+) + sum_j log(1 - sigmoid(s_j))) / (k + 1)``: scores of few negatives are
    calibrated as if all items had been negatives. t = 0 is plain binary cross-entropy, SASRec's loss.

    Args:
        n_negatives: k.
        n_items: I.
        calibration: t in 0..1.
    """
    rate = min(1.0, n_negatives / (n_items - 1))
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)

    def loss(target_scores: torch.Tensor, negative_scores: torch.Tensor) -> torch.Tensor:
        positive, negative = F.logsigmoid(target_scores), F.logsigmoid(-negative_scores)
        return -(beta * positive.sum() + negative.sum()) / (n_negatives + 1)

    return loss


class _Loss(torch.autograd.Function):
    """A loss that computes its gradients by the states and the item table in the forward pass."""

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def] # torch fixes the signature
        states, table = ctx.saved_tensors
        return states.mul_(gradient), table.mul_(gradient), *[None] * (len(ctx.needs_input_grad) - 2)


class _FullSoftmax(_Loss):
    """See full_softmax_loss."""

    @staticmethod
    def forward(ctx, states, item_table, targets):  # type: ignore[no-untyped-def]
        low = _product_dtype(states)
        if _for_kernel(states, item_table, low):
            loss, *gradients = full_softmax(states, item_table, targets, torch.get_num_threads())
            ctx.save_for_backward(*gradients)
            return torch.tensor(loss, dtype=torch.float32)
        with torch.autocast(states.device.type, enabled=False):
            items, places = item_table.detach()[1:].to(low), targets - 1
            state_gradient, table_gradient = torch.empty_like(states), torch.zeros_like(item_table)
            loss = torch.zeros((), device=states.device)
            buffer = None  # one for all chunks: allocating it for each costs more than the computation
            for rows in _chunks(states, 4 * len(items)):
                part, own = states[rows].to(low), places[rows]
                if buffer is None:
                    buffer = torch.empty(len(part), len(items), device=states.device, dtype=low)
                scores = torch.mm(part, items.T, out=buffer[:len(part)]).float()
                largest = scores.amax(dim=1, keepdim=True)
                scores -= largest
                own_scores = scores.gather(1, own[:, None])
                total = scores.exp_().sum(dim=1, keepdim=True)
                loss += (total.log() - own_scores).sum()
                # The gradient by the scores is the probabilities, scores / total, less one at the target.
                scores, weighted = scores.to(low), (part / total).to(low)
                state_gradient[rows] = (scores @ items).float().div_(total).sub_(items[own])
                if low == table_gradient.dtype:
                    table_gradient[1:].addmm_(scores.T, weighted)
                else:
                    table_gradient[1:] += scores.T @ weighted
                table_gradient.index_add_(0, targets[rows], part.to(table_gradient.dtype), alpha=-1)
        ctx.save_for_backward(state_gradient, table_gradient)
        return loss


class _Sampled(_Loss):
    """See sampled_loss."""

    @staticmethod
    def forward(ctx, states, item_table, targets, negatives, pair_loss, log_weights, offsets):  # type: ignore
        with torch.autocast(states.device.type, enabled=False):
            state_gradient, table_gradient = torch.empty_like(states), torch.zeros_like(item_table)
            loss = torch.zeros((), device=states.device)
            shared = negatives.dim() == 1
            row_bytes = 4 * negatives.shape[-1] * (1 if shared else item_table.shape[1])
            for rows in _chunks(states, row_bytes):
                drawn = negatives if shared else negatives[rows]
                added = None if log_weights is None else log_weights[drawn]
                if offsets is not None:
                    added = offsets[rows, None] if added is None else added + offsets[rows, None]
                part, state_gradient[rows], *by_items = _chunk_gradients(
                    states[rows].float(), item_table.detach(), targets[rows], drawn, pair_loss, added)
                loss += part
                for ids, gradient in by_items:
                    table_gradient.index_add_(0, ids, gradient)
        ctx.save_for_backward(state_gradient, table_gradient)
        return loss


def _chunk_gradients(states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor,
                     pair_loss: PairLoss, added: torch.Tensor | None) -> tuple[Any, ...]:
    """Return the loss, its gradient by the states, and (ids, gradient) twice for the table.

    `added`, to the negatives' scores, broadcasts to float [m, k].
    """
    shared = negatives.dim() == 1
    own, others = table[targets], table[negatives]  # [m, d]; [k, d] or [m, k, d]
    with torch.no_grad():
        target_scores = (states * own).sum(dim=1)
        negative_scores = states @ others.T if shared else torch.einsum("md,mkd->mk", states, others)
    with torch.enable_grad():  # the scores are leaves: autograd covers only this chunk's loss
        target_scores, negative_scores = target_scores.requires_grad_(), negative_scores.requires_grad_()
        corrected = negative_scores if added is None else negative_scores + added
        if shared:
            corrected = corrected.masked_fill(negatives == targets[:, None], -torch.inf)
        loss = pair_loss(target_scores, corrected)
        by_target, by_negative = torch.autograd.grad(loss, (target_scores, negative_scores))
    own_gradient = by_target[:, None] * states
    if shared:
        state_gradient = by_negative @ others
        others_gradient = by_negative.T @ states
    else:
        state_gradient = torch.einsum("mk,mkd->md", by_negative, others)
        others_gradient = (by_negative[:, :, None] * states[:, None]).flatten(0, 1)
    return (loss.detach(), state_gradient + by_target[:, None] * own, (targets, own_gradient),
            (negatives.flatten(), others_gradient))


def _product_dtype(states: torch.Tensor) -> torch.dtype:
    """Return the dtype of matrix products: autocast's where it is on."""
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype


def _for_kernel(states: torch.Tensor, item_table: torch.Tensor, low: torch.dtype) -> bool:
    return states.device.type == "cpu" and states.dtype == item_table.dtype == low == torch.float32


def _chunks(states: torch.Tensor, row_bytes: int) -> Iterator[slice]:
    size = max(CHUNK_BYTES.get(states.device.type, _DEVICE_CHUNK_BYTES) // row_bytes, _MINIMUM_ROWS)
    for start in range(0, len(states), size):
        yield slice(start, start + size)
