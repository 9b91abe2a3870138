"""The store of an unfinished embedding: shards of states on disk, from which the artifact is assembled.

It is a hidden folder beside the future artifact, with a folder for each recipe. A shard is written under another name,
synced and renamed, so that a killed process loses at most one shard, and processes and machines that see the same
folder can share the work. The states of a shard depend only on its prompts.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import TslrecError
from ..storage.arrays import load_arrays
from ..storage.artifacts import sha256_of_json
from ..storage.atomic import lock, replace_file

_POLL_SECONDS = 0.1
_LAUNCH = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")


@dataclass(frozen=True)
class Part:
    """The part of the shards that a process computes: one of every `count`."""

    number: int = 0
    """From 0."""
    count: int = 1
    launch: str = ""
    """Name of the torchrun launch, if there is one: its first process computes what the others have not done, and
    assembles the artifact. Otherwise the process that finishes last does that."""

    def of(self, n_shards: int) -> range:
        """Return the numbers of its shards, spread over all lengths of prompts, so that parts take equally long."""
        return range(self.number, n_shards, self.count)


WHOLE = Part()


def part_of_process(environment: Mapping[str, str] = os.environ) -> Part:
    """Return this process's part if torchrun started it, otherwise the whole; without torch."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return WHOLE
    launch = sha256_of_json([environment.get(name) for name in _LAUNCH])[:12]
    return Part(int(environment["RANK"]), int(environment["WORLD_SIZE"]), launch)


class ShardStore:
    """The shards of one recipe."""

    def __init__(self, out: Path, key: str, shapes: list[tuple[int, int]]) -> None:
        """Open or create the store.

        Args:
            out: the future artifact.
            key: hash of everything that the states depend on.
            shapes: of the states of each shard, (n, D).
        """
        self._shapes = shapes
        self._folder = _folder_beside(out) / key[:16]
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, shard: int) -> Path:
        """Return the file of a shard: an .npz, which has checksums, with ``states``, float32 [n, D]."""
        return self._folder / f"{shard:06d}.npz"

    def missing(self, shards: Iterable[int]) -> list[int]:
        """Return the shards that have no file; none if the artifact was made and the store removed."""
        return [shard for shard in shards if self._folder.is_dir() and not self.path(shard).is_file()]

    def to_compute(self, shards: Sequence[int]) -> list[int]:
        """Return the shards that are missing, after removing damaged ones."""
        for shard in shards:
            if self.path(shard).is_file():
                try:
                    self.read(shard)
                except TslrecError:
                    self.path(shard).unlink(missing_ok=True)
        return self.missing(shards)

    def read(self, shard: int) -> np.ndarray:
        """Return the states of a shard, float32 [n, D].

        Raises:
            TslrecError: it is missing or damaged, or a state is not finite.
        """
        states = load_arrays(self.path(shard), ("states",))["states"]
        if states.dtype != np.float32 or states.shape != self._shapes[shard] or not np.isfinite(states).all():
            raise TslrecError(f"{self.path(shard)} is {states.dtype} {list(states.shape)}; expected finite "
                              f"float32 {list(self._shapes[shard])}; run the command again, which recomputes it")
        return states

    def write(self, shard: int, states: np.ndarray) -> None:
        """Write the states of a shard, float32 [n, D], all or nothing."""
        with suppress(FileNotFoundError):  # another process computed this shard too and finished the artifact
            with replace_file(self.path(shard)) as temporary, open(temporary, "wb") as stream:
                np.savez(stream, states=states)

    def check_in(self, part: Part) -> None:
        """Record that this process of a torchrun launch has checked for the artifact and is at work."""
        (self._folder / f"{part.launch}-{part.number}").touch()

    def wait_for_check_ins(self, part: Part) -> None:
        """Return when all processes of the launch have checked in, and so have removed their damaged shards.

        A later one would find the finished artifact and refuse to replace it.
        """
        while not all((self._folder / f"{part.launch}-{number}").is_file() for number in range(part.count)):
            time.sleep(_POLL_SECONDS)  # torchrun ends this process if another one fails

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Let one process at a time assemble the artifact; false: another one has done it, and the store is gone."""
        with ExitStack() as held:
            with suppress(FileNotFoundError):
                lock(held.enter_context(open(self._folder / "lock", "w")).fileno())
            yield self._folder.is_dir()


def forget_check_in(out: Path, part: Part) -> None:
    """Remove the check-in of a killed launch: torchrun may give the next launch the same name."""
    for file in _folder_beside(out).glob(f"*/{part.launch}-{part.number}"):
        file.unlink(missing_ok=True)


def remove_store(out: Path) -> None:
    """Remove the unfinished store beside an artifact, whatever its recipe."""
    gone = out.parent / f".{out.name}.tmp-{os.getpid()}-shards"  # a leftover of this name is removed by the next write
    with suppress(FileNotFoundError):
        os.rename(_folder_beside(out), gone)
        shutil.rmtree(gone)


def _folder_beside(out: Path) -> Path:
    return out.parent / f".{out.name}.shards"
