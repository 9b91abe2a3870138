"""The next title of a prompt, foretold at the end of every title in two levels: its latent category, then the item.

    log p(i | m) = log softmax(W m + b)[c(i)] + log softmax over j in C of (s z . e_j) [i],   C = {j: c(j) = c(i)}

m is the mean state of the titles up to a place, W and b are the head of categories (`head`), z is m under the map of
`projection`, scaled to length 1, and e_j are the items' projected vectors. Items that the prompt shows up to there are
left out of C, unless they are the next one. A softmax over categories and one within a category cost less than one over
all items, and give the head a target at every title (class-based factorisation: Goodman, ICASSP 2001, cs/0108006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch.nn import functional as F

from ..data.csr import offsets, owners
from .samples import Samples


@dataclass(frozen=True)
class ItemGroups:
    """The items of every category."""

    labels: np.ndarray
    """int64 [I+1], category of each item; -1 for padding."""
    members: np.ndarray
    """int64 [I], items by their categories."""
    indptr: np.ndarray
    """int64 [K+1]: category k has ``members[indptr[k]:indptr[k+1]]``."""
    places: np.ndarray
    """int64 [I+1], index of each item among those of its category."""

    @classmethod
    def of(cls, labels: np.ndarray, n_categories: int) -> Self:
        """Return the items of categories, given `Categories.labels`."""
        members = 1 + np.argsort(labels[1:], kind="stable")
        indptr = offsets(np.bincount(labels[1:], minlength=n_categories))
        places = np.zeros(len(labels), np.int64)
        places[members] = np.arange(len(members)) - indptr[labels[members]]
        return cls(labels, members, indptr, places)

    def of_category(self, category: int) -> np.ndarray:
        """Return the items of a category, int64."""
        return self.members[self.indptr[category]:self.indptr[category + 1]]


@dataclass(frozen=True)
class NextTitles:
    """The P places of some prompts that have a title after them; a prompt of one title has none."""

    stops: list[tuple[int, ...]]
    """[B] for `PackedDecoder.prefix_states`: where the places of each prompt end, and then the prompt's span."""
    rows: np.ndarray
    """int64 [P], index of every place among those states."""
    whole_rows: np.ndarray
    """int64 [B], index of every prompt's own pooled state."""
    targets: np.ndarray
    """int64 [P], the next items."""
    weights: np.ndarray
    """float32 [P], 1 / number of places of the prompt."""
    shown: tuple[np.ndarray, ...]
    """[P] the items shown up to every place."""

    @classmethod
    def of(cls, samples: Samples) -> Self:
        """Return the places of samples that know which items they show."""
        stops, targets, shown = [], [], []
        for prompt, items in zip(samples.prompts, samples.shown, strict=True):
            # a first title without a token of its own has no state
            places = [place for place in range(1, len(items)) if prompt.title_stops[place - 1] > prompt.pool_start]
            stops.append((*(prompt.title_stops[place - 1] for place in places), prompt.pool_stop))
            targets += [int(items[place]) for place in places]
            shown += [items[:place] for place in places]
        lengths = np.array([len(of_prompt) for of_prompt in stops], np.int64)
        whole_rows = offsets(lengths)[1:] - 1
        rows = np.setdiff1d(np.arange(lengths.sum()), whole_rows)
        counts = np.repeat(lengths - 1, lengths - 1)
        return cls(stops, rows, whole_rows, np.array(targets, np.int64), (1 / np.maximum(counts, 1)).astype(np.float32),
                   tuple(shown))

    def __len__(self) -> int:
        """Return the number of places P."""
        return len(self.targets)


def next_title_losses(titles: NextTitles, groups: ItemGroups, outputs: torch.Tensor, contexts: torch.Tensor,
                      table: torch.Tensor, sharpness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two parts of -log p(next item | m): of its category, and of the item within it, float [P] each.

    Args:
        titles: the places.
        groups: the categories' items.
        outputs: float [P, K], logits of the categories, W m + b.
        contexts: float [P, d], z.
        table: float [I+1, d], e; row 0 is padding.
        sharpness: float, s.
    """
    categories = groups.labels[titles.targets]
    of_category = F.cross_entropy(outputs, torch.from_numpy(categories).to(outputs.device), reduction="none")
    place_of = owners([len(items) for items in titles.shown])
    seen = np.concatenate([np.zeros(0, np.int64), *titles.shown]).astype(np.int64)
    left_out = (groups.labels[seen] == categories[place_of]) & (seen != titles.targets[place_of])
    place_of, seen = place_of[left_out], seen[left_out]
    order, parts, local = np.argsort(categories, kind="stable"), [], np.zeros(len(titles), np.int64)
    for places in np.split(order, np.flatnonzero(np.diff(categories[order])) + 1) if len(order) else []:
        members = groups.of_category(categories[places[0]])
        local[places] = np.arange(len(places))
        mask = np.zeros((len(places), len(members)), np.bool_)
        of_group = categories[place_of] == categories[places[0]]
        mask[local[place_of[of_group]], groups.places[seen[of_group]]] = True
        chosen, candidates, wanted, hidden = (torch.from_numpy(array).to(table.device) for array in (
            places, members, groups.places[titles.targets[places]], mask))
        scores = sharpness * (contexts[chosen] @ table[candidates].T)  # [places, members]
        parts.append(F.cross_entropy(scores.masked_fill(hidden, -torch.inf), wanted, reduction="none"))
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(table.device)
    return of_category, torch.cat(parts)[back] if parts else of_category
