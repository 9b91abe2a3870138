"""The parts of a sum, as they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...configs import CONTENT_MODELS, COUNTING_MODELS
from ...errors import TslrecError, missing_path
from ...item_vectors.artifact import STATES
from ...storage.artifacts import expect_artifact

WORDS = tuple(model for model in COUNTING_MODELS if model not in CONTENT_MODELS)
"""Recommenders that are made from the data set alone."""


@dataclass(frozen=True)
class Part:
    """A part of a sum."""

    name: str
    source: Path | str
    """Folder of a train artifact; item embeddings, which ``content`` compares; or one of WORDS."""

    @property
    def is_run(self) -> bool:
        """Whether it is a train artifact, and not something to make one from."""
        return isinstance(self.source, Path) and self.source.is_dir() and not (self.source / STATES).is_file()


def part_of(name: str | None, given: Path) -> Part:
    """Return the part that a path or one of WORDS names; without a name of its own, it is called like that.

    Raises:
        TslrecError: there is no such file, folder or word, or the folder is of another kind.
    """
    if not given.exists() and str(given) in WORDS:
        return Part(name or str(given), str(given))
    if not given.exists() and str(given) in CONTENT_MODELS:
        raise TslrecError(f"{given} compares item embeddings; give them as the part: a folder that tslrec embed wrote, "
                          "or a file of vectors")
    if not given.exists():
        raise missing_path(given, "give a folder that tslrec train or tslrec embed wrote, a file of vectors, or "
                           f"{', '.join(WORDS[:-1])} or {WORDS[-1]}", WORDS)
    part = Part(name or given.resolve().name, given)
    if part.is_run:
        expect_artifact(given, "train")
    return part


def check_parts(parts: Sequence[Part]) -> None:
    """Raise TslrecError if there are fewer than two parts, or two have the same name."""
    names = [part.name for part in parts]
    if len(parts) < 2:
        raise TslrecError(f"got the parts: {', '.join(names) or 'none'}; a sum has at least two")
    for part in parts:
        if names.count(part.name) > 1:
            raise TslrecError(f"two parts are called {part.name!r}; give them names: NAME={part.source}")
