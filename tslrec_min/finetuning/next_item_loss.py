"""The loss of forecasts of next items, over all items of the catalogue, with its gradient.

The gradient by the table is all that the language model needs: item by item it continues through the model, so that no
more than a batch of items is ever in a graph. Autograd would keep several arrays [n, I+1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..data.csr import owners
from .next_items import NextItems

_PLACES_AT_ONCE = 512


@dataclass(frozen=True)
class NextItemGradients:
    """The loss at some places, and its gradient."""

    loss: float
    """Weighted sum of -log p(next item)."""
    table: torch.Tensor
    """float32 [I+1, d], gradient by the table."""
    factors: torch.Tensor
    """float32 [3], gradient by s, b and q."""


@torch.no_grad()
def next_item_loss(data: NextItems, rows: np.ndarray, weights: np.ndarray, table: torch.Tensor, factors: torch.Tensor,
                   *, threads: int) -> NextItemGradients:
    """Return the weighted sum of -log softmax(s(u, .))[next item], see `next_items`, and its gradient.

    Items that the forecast reads are no candidates, unless they are the next item.

    Args:
        data: places of histories.
        rows: int64 [n], which of them.
        weights: float [n], weight of each place.
        table: float32 [I+1, d], the items' vectors e, of length 1; row 0 is padding.
        factors: float32 [3]: s, b and q.
        threads: of the kernel that adds up counts.
    """
    device = table.device
    s, b, q = factors.tolist()
    d_table, d_factors, loss = torch.zeros_like(table), torch.zeros(3, device=device), 0.0
    log_shares = torch.from_numpy(data.log_shares).to(device)
    for start in range(0, len(rows), _PLACES_AT_ONCE):
        part = rows[start:start + _PLACES_AT_ONCE]
        contexts, recency = data.contexts(part)
        owner = torch.from_numpy(owners(contexts.lengths)).to(device)
        items, w = (torch.from_numpy(array).to(device) for array in (contexts.items.astype(np.int64), recency))
        raw = torch.zeros(len(part), table.shape[1], device=device).index_add_(0, owner, table[items] * w[:, None])
        norm = raw.norm(dim=1, keepdim=True).clamp_min(1e-6)
        z = raw / norm
        scores = (z @ table.T).mul_(s).add_(q * log_shares)  # [n, I+1]
        counted = data.counted(part, threads)
        if counted is not None:
            places = torch.from_numpy(owners(np.diff(counted.indptr)) * scores.shape[1] + counted.items).to(device)
            evidence = torch.from_numpy(counted.values).to(device)
            scores.view(-1).index_add_(0, places, b * evidence)
        line, targets = torch.arange(len(part), device=device), torch.from_numpy(data.targets[part]).to(device)
        wanted = scores[line, targets]
        scores[:, 0] = -torch.inf
        scores[owner, items] = -torch.inf
        scores[line, targets] = wanted
        highest = scores.amax(dim=1, keepdim=True)
        shares = scores.sub_(highest).exp_()
        total = shares.sum(dim=1, keepdim=True)
        weight = torch.from_numpy(weights[start:start + _PLACES_AT_ONCE]).to(device, torch.float32)[:, None]
        of_places = (total.log() + highest - wanted[:, None])[:, 0].cpu().double()  # some devices lack float64
        loss += float((weight[:, 0].cpu().double() * of_places).sum())
        d_scores = shares.div_(total)
        d_scores[line, targets] -= 1
        d_scores.mul_(weight)
        d_z = (d_scores @ table).mul_(s)
        along = (d_z * z).sum(dim=1, keepdim=True)
        d_factors[0] += along.sum() / s
        if counted is not None:
            d_factors[1] += d_scores.view(-1)[places] @ evidence
        d_factors[2] += d_scores.sum(dim=0) @ log_shares
        d_table.addmm_(d_scores.T, z, alpha=s)
        d_table.index_add_(0, items, ((d_z - along * z) / norm)[owner] * w[:, None])
    d_table[0] = 0
    return NextItemGradients(loss, d_table, d_factors)
