"""Every stage, killed again and again: nothing half is taken for whole, finished work is kept, the end is right.

A stage runs on tiny data with a tiny random language model in a process of its own, forked from one that has loaded
torch and llama.cpp. It gets SIGKILL or SIGINT, half of the time after a random share of its processor time, half of the
time just before one of its file operations (Python's audit events: opening to write, renaming, making and removing), so
that the instants between two of them are hit too. After some kills in a row the command is given undisturbed. Then

- every artifact that had its name after a kill is whole, and `tslrec run` has not made a finished stage again;
- the command has ended with 0 and the artifacts are those of an undisturbed run, byte for byte;
- nothing is left beside them.

Other faults: a full disk (a small tmpfs; needs root on Linux), a limit to the size of files (RLIMIT_FSIZE), a folder
that may not be written, and two processes with one --out. They must end with status 1 and one line that says what is
wrong, leave no artifact or a whole one, and the same command must succeed afterwards. The exit status is 1 if anything
failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tslrec_min

STAGES = ("prepare", "pretrain", "finetune", "embed", "train", "evaluate", "run")
FAULTS = ("full", "size", "permission", "two")
_WRITING = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate")
_MOST_SECONDS = 900  # that any process may take; on a busy machine a second of work takes many
_NOBODY = 65534
RUN = """
source = "{raw}"
seeds = [0]
[prepare]
k_core = 0
[pretrain]
categories = 3
{small}
[finetune]
model = "{llm}"
parity_prompts = 4
epochs = 1
[embed]
shard_size = 3
[train]
{small}
[[arms]]
name = "ids"
[[arms]]
name = "tslrec"
embeddings = "tuned"
adapter = "init"
"""


@dataclass
class Stage:
    """A command with its inputs, and what it makes undisturbed."""

    name: str
    command: Callable[[Path], list[str]]
    """Folder for its output -> words of the command line."""
    expected: dict[str, str] = field(default_factory=dict)
    """Artifact, relative to the folder -> its hash."""
    seconds: float = 0.0
    """Processor time."""
    operations: int = 0
    """File operations."""
    bytes: int = 0
    """Of its largest file."""


@dataclass
class Tally:
    """What was done to a stage, and what went wrong."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        """Count one."""
        self.counts[what] = self.counts.get(what, 0) + 1


def start(words: Sequence[str], folder: Path, *, before: Callable[[], None] | None = None) -> int:
    """Run a command of tslrec in a forked process; returns its number. What it says goes to FOLDER/PROCESS.said."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        said = os.open(folder / f"{os.getpid()}.said", os.O_CREAT | os.O_WRONLY, 0o666)
        os.dup2(said, 1), os.dup2(said, 2)
        from tqdm import tqdm

        from tslrec_min.cli import main as command_line

        tqdm.set_lock(threading.RLock())  # its own lock is shared by forks, and a killed one never lets it go
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
        if before:
            before()
        _call(command_line, list(words))
    except KeyboardInterrupt:  # before the command line has begun
        status = 130
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _call(command_line: Callable[..., Any], words: list[str]) -> None:
    try:
        command_line(words, prog_name="tslrec")
    except KeyboardInterrupt:
        traceback.print_exc()  # it should have been said otherwise
        raise


def finish(process: int, folder: Path) -> tuple[int, str]:
    """Wait for a process; returns its status (negative: the signal) and what it has said."""
    ended = time.monotonic() + _MOST_SECONDS
    while not (found := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > ended:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return 99, "it did not end"
        time.sleep(0.002)
    said = folder / f"{process}.said"
    text = said.read_text(errors="replace") if said.is_file() else ""
    said.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(found[1]), text


def kill_at_operation(number: int, sent: signal.Signals, below: Path) -> Callable[[], None]:
    """Return what lets a process send itself a signal before its n-th file operation below a folder."""
    def before() -> None:
        left = number

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if not left or not _is_writing(event, arguments, below):
                return
            left -= 1
            if not left:
                os.kill(os.getpid(), sent)

        sys.addaudithook(hook)
    return before


def _is_writing(event: str, arguments: tuple[Any, ...], below: Path) -> bool:
    if event == "open" and isinstance(arguments[0], str | bytes):
        flags = arguments[2] or 0
        return bool(flags & (os.O_WRONLY | os.O_RDWR)) and os.fsdecode(arguments[0]).startswith(str(below))
    return event in _WRITING and (str(arguments[0]).startswith(str(below)) or not str(arguments[0]).startswith("/"))


def kill_after(process: int, seconds: float, sent: signal.Signals) -> None:
    """Send a signal when a process has used so much processor time, unless it ends before."""
    while True:
        try:
            used = sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{process}/task").glob("*/schedstat"))
        except (OSError, IndexError):
            return
        if used >= 1e9 * seconds:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sent)
            return
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.0005)


def artifacts_in(folder: Path) -> dict[str, str]:
    """Return the hash of every artifact that has its name; raises TslrecError if one isn't whole."""
    from tslrec_min.storage.artifacts import open_artifact, read_json

    found = {}
    for record in sorted(folder.rglob("config.json")):
        if not any(part.startswith(".") for part in record.relative_to(folder).parts):
            found[str(record.parent.relative_to(folder))] = open_artifact(record.parent,
                                                                         read_json(record)["kind"]).hash
    return found


def leftovers(folder: Path) -> list[str]:
    """Return what lies hidden in a folder, the lock of a run aside."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if path.name != ".lock"]


def undisturbed(stage: Stage, work: Path) -> None:
    """Run a stage once, and keep what it makes and takes."""
    counted = work / "operations"

    def before() -> None:
        total, began = 0, time.process_time()

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal total
            total += _is_writing(event, arguments, work)
            if event == "os.rename" or event.startswith("os.rm"):
                descriptor = os.open(counted, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
                os.write(descriptor, f"{total} {time.process_time() - began}".encode())
                os.close(descriptor)
                total -= 1  # its own

        sys.addaudithook(hook)
    status, said = finish(start(stage.command(work / "out"), work, before=before), work)
    if status:
        raise RuntimeError(f"{stage.name} fails undisturbed: {said}")
    stage.expected = artifacts_in(work / "out")
    operations, seconds = counted.read_text().split()
    stage.operations, stage.seconds = int(operations) + 4, float(seconds)
    stage.bytes = max(path.stat().st_size for path in (work / "out").rglob("*") if path.is_file())


def killed(stage: Stage, work: Path, draw: random.Random, tally: Tally, most: int) -> None:
    """Kill a stage up to `most` times in a row, then let it end."""
    out = work / "out"
    out.mkdir()
    kept: dict[str, int] = {}
    for _ in range(draw.randint(1, most)):
        sent, at_operation = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]), draw.random() < 0.5
        moment = f"operation {draw.randint(1, stage.operations)}" if at_operation else (
            f"{draw.uniform(0, stage.seconds):.3f} s")
        if at_operation:
            process = start(stage.command(out), work, before=kill_at_operation(int(moment.split()[1]), sent, work))
        else:
            process = start(stage.command(out), work)
            kill_after(process, float(moment.split()[0]), sent)
        status, said = finish(process, work)
        what = f"{sent.name} at {moment}"
        hit = status in (-sent, 130) or (sent == signal.SIGINT and status == 1 and "Aborted!" in said)
        tally.count(sent.name if hit else "came too late" if status == 0 else "ended otherwise")
        if not hit and status != 0 and not (status == 1 and "already exists" in said):
            raise AssertionError(f"{what}: ended with {status}: {said[-600:]}")
        if "Traceback" in said or "Exception ignored" in said:
            raise AssertionError(f"{what}: {said[-900:]}")
        found = artifacts_in(out)
        wrong = [name for name, value in found.items() if stage.expected.get(name) != value]
        if wrong or any((out / name).stat().st_ino != inode for name, inode in kept.items()):
            raise AssertionError(f"{what}: {wrong or 'a finished stage was made again'}")
        kept = {name: (out / name).stat().st_ino for name in found}
        if not hit:
            break  # it is done
    end(stage, work, kept)


def end(stage: Stage, work: Path, kept: dict[str, int] | None = None) -> None:
    """Give the command undisturbed and look at what there is."""
    out = work / "out"
    if stage.name != "run" and artifacts_in(out):  # killed after its last step: it would be refused
        shutil.rmtree(out / next(iter(stage.expected)))
    status, said = finish(start(stage.command(out), work), work)
    if status:
        raise AssertionError(f"given again it ended with {status}: {said[-600:]}")
    if artifacts_in(out) != stage.expected:
        raise AssertionError(f"given again it made {artifacts_in(out)}; expected {stage.expected}")
    if left := leftovers(out):
        raise AssertionError(f"given again it left {left}")
    if stage.name == "run" and any((out / name).stat().st_ino != inode for name, inode in (kept or {}).items()):
        raise AssertionError("given again it made a finished stage again")


def refused(stage: Stage, work: Path, what: str, before: Callable[[], None] | None = None) -> None:
    """Run a stage that can't be done; it must say so in one line and leave nothing half."""
    status, said = finish(start(stage.command(work / "out"), work, before=before), work)
    if status == 0:
        return  # there was room enough
    if status != 1 or "Traceback" in said or "Error: " not in said:
        raise AssertionError(f"{what}: ended with {status}: {said[-900:]}")
    wrong = [name for name, value in artifacts_in(work / "out").items() if stage.expected.get(name) != value]
    if wrong or [name for name in leftovers(work / "out") if ".tmp-" in name]:
        raise AssertionError(f"{what}: left {wrong} {leftovers(work / 'out')}")


def can_mount(folder: Path) -> bool:
    """Return whether this process may mount a file system."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError), small_disk(folder / "mounted", 1 << 20):
        return True
    return False


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mount a file system of `size` bytes at a folder; gives what makes it large."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(size, 4096)}", "tmpfs", str(folder)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def disk_full(stage: Stage, work: Path, draw: random.Random) -> None:
    with small_disk(work / "out", int(stage.bytes * draw.uniform(0.05, 2.5))) as enlarge:
        refused(stage, work, "full disk")
        enlarge()
        end(stage, work)


def file_too_large(stage: Stage, work: Path, draw: random.Random) -> None:
    (work / "out").mkdir()
    most = int(stage.bytes * draw.uniform(0.01, 0.99))
    refused(stage, work, f"files of {most} bytes at most",
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)))
    end(stage, work)


def not_permitted(stage: Stage, work: Path, _draw: random.Random) -> None:
    (work / "out").mkdir(mode=0o755 if os.geteuid() == 0 else 0o555)
    refused(stage, work, "no permission", (lambda: os.seteuid(_NOBODY)) if os.geteuid() == 0 else None)
    (work / "out").chmod(0o755)
    end(stage, work)


def two_at_once(stage: Stage, work: Path, draw: random.Random) -> None:
    out = work / "out"
    out.mkdir()
    first = start(stage.command(out), work)
    time.sleep(draw.uniform(0, stage.seconds))
    second = start(stage.command(out), work)
    ended = [finish(process, work) for process in (first, second)]
    for status, said in ended:
        if status not in (0, 1) or "Traceback" in said or (status == 1 and "another " not in said
                                                           and "already exists" not in said):
            raise AssertionError(f"two at once: ended with {status}: {said[-600:]}")
    if ended[0][0] and ended[1][0]:
        raise AssertionError(f"two at once: both were refused: {ended}")
    if artifacts_in(out) != stage.expected or leftovers(out):
        raise AssertionError(f"two at once: left {artifacts_in(out)} {leftovers(out)}")


_KINDS: dict[str, Callable[[Stage, Path, random.Random], None]] = {
    "full": disk_full, "size": file_too_large, "permission": not_permitted, "two": two_at_once}


def stages(folder: Path) -> list[Stage]:
    """Make the inputs of all stages; returns the stages."""
    from _readers import SMALL, artifacts

    from tslrec_min.llm.model import load_language_model

    base = artifacts(folder)
    load_language_model(folder / "llm")
    for module in pkgutil.walk_packages(tslrec_min.__path__, "tslrec_min."):  # forked processes have all of it
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    raw = folder / "raw" / "ratings.csv"
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    toml = folder / "run.toml"
    toml.write_text(RUN.format(raw=raw, llm=folder / "llm", small="\n".join(f"{name} = {value}" for name, value in
                                                                            SMALL.items())))
    words: dict[str, list[object]] = {
        "prepare": ["prepare", raw, "--k-core", 0],
        "pretrain": ["pretrain", base["dataset"], "--categories", 3, *small],
        "finetune": ["finetune", base["dataset"], base["pretrain"], "--model", folder / "llm", "--epochs", 1,
                     "--parity-prompts", 4],
        "embed": ["embed", base["dataset"], "--finetuned", base["finetune"], "--shard-size", 2],
        "train": ["train", base["dataset"], "--embeddings", base["embed"], "--adapter", "linear", *small],
        "evaluate": ["evaluate", base["dataset"], base["train"], "--resamples", 50],
        "run": ["run", toml]}

    def command(name: str) -> Callable[[Path], list[str]]:
        threads = [] if name == "prepare" else ["--threads", "1"]
        return lambda out: [str(word) for word in (*words[name], *threads, "-o", out if name == "run" else out / name)]
    return [Stage(name, command(name)) for name in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="least number of kills for each stage (default: 30)")
    parser.add_argument("--faults", type=int, default=3, help="faults of each other kind for each stage (default: 3)")
    parser.add_argument("--in-a-row", type=int, default=3, help="most kills before a command may end (default: 3)")
    parser.add_argument("--stages", default=",".join(STAGES), help=f"some of {','.join(STAGES)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments (default: 0)")
    parser.add_argument("--chain", type=Path, help="folder to keep the stages' inputs in, for further runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads do not survive a fork
    import torch

    from tslrec_min import set_verbosity
    from tslrec_min.cli.tables import table
    from tslrec_min.storage import checkpoints

    torch.set_num_threads(1)
    set_verbosity("quiet")
    start = checkpoints.Checkpointing.__init__
    start.__defaults__ = (0.0, *(start.__defaults__ or ())[1:])  # seconds between two: one after every step
    tallies = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # for the user without permissions, too
        for stage in stages(options.chain or folder / "chain"):
            if stage.name in options.stages.split(","):
                tallies[stage.name] = _try(stage, folder, options)
                print(stage.name, vars(tallies[stage.name]), file=sys.stderr, flush=True)
    failures = sum(len(tally.failures) for tally in tallies.values())
    if options.json:
        print(json.dumps({name: vars(tally) for name, tally in tallies.items()}))
    else:
        columns = sorted({what for tally in tallies.values() for what in tally.counts})
        print(table(("stage", *columns, "failures"), [
            (name, *(str(tally.counts.get(what, 0)) for what in columns), str(len(tally.failures)))
            for name, tally in tallies.items()]))
        for name, tally in tallies.items():
            for failure in tally.failures:
                print(f"\n{name}: {failure}")
    sys.exit(failures > 0)


def _try(stage: Stage, folder: Path, options: argparse.Namespace) -> Tally:
    """Do everything to one stage."""
    tally, draw = Tally(), random.Random(f"{options.seed} {stage.name}")
    with _fresh(folder) as work:
        undisturbed(stage, work)
    while tally.counts.get("SIGKILL", 0) + tally.counts.get("SIGINT", 0) < options.kills and (
            len(tally.failures) < 5):
        with _fresh(folder) as work, _noted(tally):
            killed(stage, work, draw, tally, options.in_a_row)
    for kind in FAULTS:
        if kind == "full" and not can_mount(folder):
            tally.count("full skipped")
            continue
        for _ in range(options.faults):
            tally.count(kind)
            with _fresh(folder) as work, _noted(tally):
                _KINDS[kind](stage, work, draw)
    return tally


@contextlib.contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    work = folder / "work"
    work.mkdir()
    work.chmod(0o777)
    try:
        yield work
    finally:
        shutil.rmtree(work)


@contextlib.contextmanager
def _noted(tally: Tally) -> Iterator[None]:
    from tslrec_min.errors import TslrecError

    try:
        yield
    except (AssertionError, TslrecError, OSError) as error:
        tally.failures.append(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
