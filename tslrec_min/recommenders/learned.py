"""What a run learned from; runs are only evaluated on targets that they have not learned, and compared with their like.

``n-2``, the training items: of a history of n items, all but the last two. ``n-1``: the validation items too, as many
papers do before the final test. ``everything``: the test items too, for recommendations.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..configs import REFITS
from ..errors import TslrecError
from ..storage.artifacts import Artifact

KINDS = TRAINING, WITH_VALIDATION, EVERYTHING = "n-2", "n-1", "everything"
"""In the order of `configs.REFITS`."""
_ITEMS = {TRAINING: "the training items", WITH_VALIDATION: "the training and validation items",
          EVERYTHING: "all items"}


def learned_from(artifact: Artifact) -> str:
    """Return what a train artifact learned from: ``n-2``, ``n-1`` or ``everything``.

    Raises:
        TslrecError: its configuration does not say so.
    """
    refit = artifact.config.get("refit", "none")  # older versions knew no refit
    if refit not in REFITS:
        raise TslrecError(f"{artifact.path}: refit is {refit!r}; expected one of {', '.join(REFITS)}; run tslrec "
                          "train again")
    return KINDS[REFITS.index(refit)]


def described(kind: str) -> str:
    """Return a kind of histories as text, such as ``the training items (n-2)``."""
    return _ITEMS[kind] + f" ({kind})" * (kind != EVERYTHING)


def common_histories(learned: Mapping[str, str], split: str) -> str:
    """Return what all runs learned from, given name -> `learned_from` of each.

    Args:
        learned: at least one run.
        split: the targets to rank, ``validation`` or ``test``.

    Raises:
        TslrecError: a run has learned these targets, or they learned from different histories.
    """
    for name, kind in learned.items():
        if kind == EVERYTHING or (kind, split) == (WITH_VALIDATION, "validation"):
            better = "none or validation" if split == "test" else "none"
            raise TslrecError(f"{name} learned from {described(kind)}, so it has seen the {split} targets: no figure "
                              f"can be computed from it; train it with --refit {better}")
    return same_histories(learned)


def same_histories(learned: Mapping[str, str]) -> str:
    """Return what all runs learned from; raises TslrecError if they learned from different histories."""
    first, *_ = learned
    for name, kind in learned.items():
        if kind != learned[first]:
            raise TslrecError(f"{first} and {name} can't be compared, as they learned from different histories: the "
                              f"first from {described(learned[first])}, the other from {described(kind)}; train both "
                              "with the same --refit")
    return learned[first]
