"""Damaged files for every reader: what is not read rightly must be refused by a TslrecError, and by nothing else.

Small sound files are damaged at random (`_damage`), some in their bytes, some in values that a parser takes for sound,
and read by the package's own functions (`_readers`). It is a defect if

- another exception comes out than TslrecError, or the process ends (a crash of llama.cpp, say);
- reading takes more than `SECONDS` of processor time or `MEMORY_MIB` and 20 times the files beyond what it takes of
  sound ones;
- a checksum guards the contents (artifacts, gzip, zip, shards, checkpoints) and something else is read than was
  written;
- tables and JSON lines are read otherwise when they are cut into blocks otherwise.

"Forged" artifacts are damaged and then get checksums that fit: these may be read as something else, but cleanly. Every
case follows from --seed, the reader's name and its number; readers run in processes of their own. The exit status is 1
if there is a defect.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _damage import damaged

SECONDS = 20
MEMORY_MIB = 300
_WALL_SECONDS = 600  # a process that waits instead of computing


@dataclass
class Tally:
    """What became of the cases of a reader."""

    refused: int = 0
    read: int = 0
    """Damage that does no harm, or changes what is said."""
    defects: list[dict[str, Any]] = field(default_factory=list)


def seen(value: Any) -> Any:
    """Return what can be compared, and written as JSON, of anything that was read."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if is_dataclass(value) and not isinstance(value, type):
        return {name: seen(inner) for name, inner in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(key): seen(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [seen(inner) for inner in value]
    return value if isinstance(value, str | int | bool | None) else repr(value)


def cases_of(subject: Any, home: Path, first: int, last: int, seed: int, work: Path) -> Iterator[dict[str, Any]]:
    """Run cases in this process; yields what each has come to, and before it that it begins."""
    sound = seen(subject.read(_copy(home, work)))
    resident = _peak_mib()
    for case in range(first, last):
        yield {"case": case}
        folder = _copy(home, work)
        name, harmed = _damage(subject, folder, case, seed)
        if subject.forge:
            subject.forge(folder)
        Path("/proc/self/clear_refs").write_text("5")
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            outcome, detail = _outcome(subject, folder, sound)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        extra = _peak_mib() - resident
        if extra > MEMORY_MIB + 20 * sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20:
            outcome, detail = "memory", f"{extra:.0f} MiB; {outcome} {detail}"
        yield {"case": case, "file": name, "harmed": harmed, "outcome": outcome, "detail": detail}


def _outcome(subject: Any, folder: Path, sound: Any) -> tuple[str, str]:
    from tslrec_min.errors import TslrecError

    try:
        found = seen(subject.read(folder))
    except TslrecError as error:
        return ("refused", str(error)) if str(error).strip() else ("no message", "")
    except BaseException as error:  # a panic of Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return "raised", "".join(traceback.format_exception(error)[-3:])
    if subject.guarded and found != sound:
        return "read wrongly", str(found)[:300]
    return "read", ""


def _damage(subject: Any, folder: Path, case: int, seed: int) -> tuple[str, bool]:
    """Damage one file of a folder; returns its name, and whether it differs now."""
    random = np.random.default_rng((seed, zlib.crc32(subject.name.encode()), case))
    files = sorted({file for pattern in subject.files for file in folder.glob(pattern) if file.is_file()})
    file = files[int(random.integers(len(files)))]
    before = file.read_bytes()
    data = damaged(file, random, only_bytes=subject.only_bytes)
    file.write_bytes(data)
    return str(file.relative_to(folder)), data != before


def _copy(home: Path, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(home, work)
    return work


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def run_apart(subject: Any, home: Path, count: int, seed: int, work: Path, first: int = 0) -> Tally:
    """Run cases in forked processes: when one ends before its time, that is the case's outcome, and another goes on."""
    tally, next_case = Tally(), first
    while next_case < first + count:
        reports, ended = _child(subject, home, next_case, first + count, seed, work)
        for report in reports:
            match report.get("outcome"):
                case None:
                    next_case = report["case"] + 1
                case "refused":
                    tally.refused += 1
                case "read":
                    tally.read += 1
                case _:
                    tally.defects.append(report)
        if ended and not reports:
            raise RuntimeError(f"{subject.name} can't read its sound files, {ended}")
        if ended:
            begun = reports[-1]["case"]
            tally.defects.append({"case": begun, "outcome": "process ended", "detail": ended})
            next_case = begun + 1
    return tally


def _child(subject: Any, home: Path, first: int, last: int, seed: int, work: Path) -> tuple[list[dict[str, Any]], str]:
    """Run cases in one forked process; returns what it said, and how it ended if that was before its time."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        _report(subject, home, first, last, seed, work, writer)
    os.close(writer)
    deadline = signal.signal(signal.SIGALRM, lambda *_: os.kill(process, signal.SIGKILL))
    signal.alarm(_WALL_SECONDS + last - first)
    with open(reader, encoding="utf-8") as stream:
        reports = [json.loads(line) for line in stream if line.endswith("\n")]
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    signal.alarm(0)
    signal.signal(signal.SIGALRM, deadline)
    if status == 0:
        return reports, ""
    said = (work.parent / "stderr").read_text(errors="replace")[-900:]
    return reports, (f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}") + f": {said}"


def _report(subject: Any, home: Path, first: int, last: int, seed: int, work: Path, writer: int) -> None:
    """Be the child: never returns."""
    status = 1
    try:
        said = os.open(work.parent / "stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        with open(writer, "w", encoding="utf-8", buffering=1) as stream:
            for report in cases_of(subject, home, first, last, seed, work):
                stream.write(json.dumps(report) + "\n")
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300, help="damaged inputs for each reader (default: 300)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="decides all damage (default: 0)")
    parser.add_argument("--only", default="", help="readers whose names contain this text")
    parser.add_argument("--light", action="store_true", help="only readers that need no torch (with --chain)")
    parser.add_argument("--chain", type=Path, help="folder to keep the sound artifacts in, for further runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads do not survive a fork
    if not options.light:
        import torch

        torch.set_num_threads(1)
    from _readers import subjects

    from tslrec_min import set_verbosity
    from tslrec_min.cli.tables import table

    set_verbosity("quiet")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as temporary:
        (Path(temporary) / "sound").mkdir()
        found = {name: entry for name, entry in subjects(
            Path(temporary) / "sound", options.chain or Path(temporary) / "chain", not options.light).items()
            if options.only in name}
        tallies, rows = {}, []
        for name, (subject, home) in found.items():
            started = time.perf_counter()
            tallies[name] = tally = run_apart(subject, home, options.cases, options.seed, Path(temporary) / "case",
                                              options.first)
            kinds = collections.Counter(defect["outcome"] for defect in tally.defects)
            counts = (options.cases, tally.refused, tally.read, len(tally.defects))
            rows.append((name, *map(str, counts), f"{time.perf_counter() - started:.1f}",
                         ", ".join(f"{n} {kind}" for kind, n in kinds.items())))
            print(*rows[-1], *(f"\n  {json.dumps(defect)}" for defect in tally.defects), file=sys.stderr, flush=True)
    defects = sum(len(tally.defects) for tally in tallies.values())
    if options.json:
        print(json.dumps({name: vars(tally) for name, tally in tallies.items()}))
    else:
        print(table(("reader", "cases", "refused", "read", "defects", "seconds", ""), rows))
        print(f"\n{options.cases * len(rows)} damaged inputs, {defects} defects")
        for name, tally in tallies.items():
            for defect in tally.defects:
                print(f"\n{name}, case {defect['case']} ({defect.get('file', '')}): {defect['outcome']}\n"
                      f"{defect['detail']}")
    sys.exit(defects > 0)


if __name__ == "__main__":
    main()
