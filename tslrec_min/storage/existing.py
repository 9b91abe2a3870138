"""What to do with an artifact that already exists."""

from __future__ import annotations

import enum


class Existing(enum.StrEnum):
    """What to do with an artifact that already exists."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    REUSE = "reuse"
    """Keep it if it was made from the same inputs with the same configuration, else replace it."""

    @classmethod
    def _missing_(cls, value: object) -> Existing:
        raise ValueError(f"existing is {value!r}; expected one of {', '.join(cls)}")

    @property
    def overwrites(self) -> bool:
        """Whether an artifact that can't be kept is replaced."""
        return self is not Existing.REFUSE

    @property
    def reuses(self) -> bool:
        """Whether an artifact of the same recipe is kept."""
        return self is Existing.REUSE
