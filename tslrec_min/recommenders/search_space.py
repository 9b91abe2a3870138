"""The search space of ``tslrec tune``. To search another option, add a line to `SPACE`.

An option that a configuration does not read, as its declaration in `configs` says, keeps the given value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from ..config_fields import is_read, unknown_keys
from ..configs import TrainConfig
from ..errors import TslrecError

_DRAWS = 100
"""Maximum number of draws per wanted configuration: a small space has fewer configurations than are wanted."""


class Distribution(Protocol):
    """How the values of an option are drawn; its text describes it."""

    def draw(self, random: np.random.Generator) -> Any:
        """Return a value."""


@dataclass(frozen=True)
class Choice:
    """One of some values, each with the same probability."""

    values: tuple[Any, ...]

    def draw(self, random: np.random.Generator) -> Any:
        """Return a value."""
        return self.values[random.integers(len(self.values))]

    def up_to(self, enough: float) -> Choice:
        """Return the choice among the values, which rise, up to the first one that is at least `enough`."""
        return Choice(tuple(value for place, value in enumerate(self.values)
                            if not place or self.values[place - 1] < enough))

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


@dataclass(frozen=True)
class Uniform:
    """A number between two others."""

    low: float
    high: float

    def draw(self, random: np.random.Generator) -> float:
        """Return a value of two significant digits."""
        return _rounded(random.uniform(self.low, self.high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform:
    """A number whose logarithm is uniform; or 0."""

    low: float
    high: float
    zero: float = 0.0
    """Probability of 0."""

    def draw(self, random: np.random.Generator) -> float:
        """Return a value of two significant digits."""
        if random.random() < self.zero:
            return 0.0
        return _rounded(np.exp(random.uniform(np.log(self.low), np.log(self.high))))

    def __str__(self) -> str:
        return f"{'0, or ' * (self.zero > 0)}{self.low:g} to {self.high:g}, log-uniform"


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


SPACE: Mapping[str, Distribution] = {
    "width": Choice((64, 128)),
    "blocks": Choice((1, 2, 3)),
    "heads": Choice((1, 2, 4)),
    "units": Choice((64, 128, 256)),
    "block": Choice(("prenorm", "ligr")),
    "bsarec_alpha": Uniform(0.1, 0.9),
    "frequency_cut": Choice((3, 5, 7, 9)),
    "dropout": Uniform(0.1, 0.6),
    "mask_probability": Uniform(0.1, 0.6),
    "max_len": Choice((50, 100, 200)),
    "batch_size": Choice((64, 128, 256)),
    "learning_rate": LogUniform(5e-4, 3e-3),
    "decay": Choice(("none", "cosine")),
    "weight_decay": LogUniform(1e-3, 1e-1, zero=0.5),
    "table_decay": LogUniform(1e-3, 1.0, zero=0.5),
}
"""Field of TrainConfig -> how its values are drawn."""


def searched(given: TrainConfig, vary: str, longest: int) -> dict[str, Distribution]:
    """Return the options to vary.

    Args:
        given: the configuration that they start from.
        vary: their names, separated by commas; empty: all that `given` reads.
        longest: number of items in the longest training history, beyond which no window needs to go.

    Raises:
        TslrecError: there is no such option in `SPACE`, or `given` does not read it.
    """
    names = [name.strip().replace("-", "_") for name in vary.split(",")] if vary else list(SPACE)
    problems = unknown_keys(names, list(SPACE))
    values = asdict(given)
    unread = [name for name in names if name in SPACE and not is_read(TrainConfig, name, values)]
    if vary:
        problems += [f"{name} is not read with the given options" for name in unread]
    if problems:
        raise TslrecError(f"--vary {vary}: {'; '.join(problems)}")
    space = {name: SPACE[name] for name in names if name not in unread}
    if isinstance(lengths := space.get("max_len"), Choice):
        space["max_len"] = useful = lengths.up_to(longest)
        if len(useful.values) == 1:
            del space["max_len"]
    return space


def candidates(given: TrainConfig, space: Mapping[str, Distribution], count: int) -> list[TrainConfig]:
    """Return different configurations: the given one, then random ones.

    They follow from the seed of `given`, and the first ones do not depend on `count`.

    Args:
        given: the first one.
        space: the options to vary.
        count: their number; there are fewer if the space has no more.
    """
    random = np.random.default_rng((given.seed, 2))
    found = [given]
    for _ in range(_DRAWS * count):
        if len(found) == count:
            break
        drawn = _candidate(given, {name: distribution.draw(random) for name, distribution in space.items()})
        if drawn is not None and drawn not in found:
            found.append(drawn)
    return found


def _candidate(given: TrainConfig, drawn: Mapping[str, Any]) -> TrainConfig | None:
    """Return a configuration with the drawn values; None if they don't go together."""
    values = {**asdict(given), **drawn}
    try:
        return TrainConfig(**values | {name: getattr(given, name) for name in drawn
                                       if not is_read(TrainConfig, name, values)})
    except TslrecError:
        return None
