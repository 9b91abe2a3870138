"""Interactions with structure, from a seed: what comes next follows from the last item, and titles tell its kind.

Items are of a few kinds, in a circle within each kind. A user likes two kinds; the next item is the one after the last
in its circle, or with a smaller probability any item of the two kinds, popular ones more often. So the last item says
much about the next one, and popularity little.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

KINDS = ("Harbour", "Garden", "Winter", "Desert", "Castle", "Robot", "Violin", "Recipe")
"""The noun in the titles of each kind."""
ADJECTIVES = ("Quiet", "Golden", "Broken", "Hidden", "Distant", "Paper", "Second", "Blue", "Last", "Endless")
_FOLLOWS = 0.65
"""Probability that the next item is the one after the last."""
_LIKED_KINDS = 2
_LENGTHS = (10, 24)
"""Shortest and longest history."""


def write_interactions(folder: Path, *, users: int, items: int, seed: int) -> Path:
    """Write interactions.csv and items.csv into an existing folder; return the file of the interactions."""
    random = np.random.default_rng(seed)
    circles = np.array_split(random.permutation(items), len(KINDS))
    lines = ["user_id,item_id,timestamp"]
    for user in range(users):
        liked = [circles[kind] for kind in random.permutation(len(KINDS))[:_LIKED_KINDS]]
        length = int(random.integers(_LENGTHS[0], _LENGTHS[1] + 1))
        lines += [f"u{user},i{item},{time}" for time, item in enumerate(_history(liked, length, random))]
    path = folder / "interactions.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    kinds = {int(item): kind for kind, circle in enumerate(circles) for item in circle}
    titles = [f"i{item},{ADJECTIVES[item % len(ADJECTIVES)]} {KINDS[kinds[item]]} {item}" for item in range(items)]
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(titles) + "\n", encoding="utf-8")
    return path


def _history(circles: list[np.ndarray], length: int, random: np.random.Generator) -> list[int]:
    """Walk on the circles, each int64 [n]."""
    circle, place, items = circles[0], 0, []
    follows = random.random(length) < _FOLLOWS
    follows[0] = False
    for step in range(length):
        if follows[step]:
            place = (place + 1) % len(circle)
        else:
            circle = circles[random.integers(len(circles))]
            place = int(len(circle) * random.random() ** 2)  # the first ones of a circle are the popular ones
        items.append(int(circle[place]))
    return items
