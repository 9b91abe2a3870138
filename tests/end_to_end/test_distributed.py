"""Training under torchrun: several processes, the result of one.

Most of a launch's time goes into imports, so one launch runs several commands, and what a single process does is done
in this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tslrec_min.storage.arrays import load_arrays
from tslrec_min.storage.artifacts import read_json

from ..factories import tslrec

SMALL = ["--width", "16", "--blocks", "1", "--max-len", "8", "--batch-size", "17", "--epochs", "3",
         "--learning-rate", "0.005", "--dropout", "0.2", "--threads", "1"]
LONG = [*SMALL, "--epochs", "30", "--patience", "30"]
MODELS = {"sasrec": ["--model", "sasrec"],
          "ligr": ["--model", "sasrec", "--block", "ligr"],
          "bsarec": ["--model", "bsarec"],
          "bert4rec": ["--model", "bert4rec", "--loss", "gbce", "--negatives", "4"],
          "gru4rec": ["--model", "gru4rec", "--units", "16", "--loss", "sampled", "--sampling", "batch"]}
COMMANDS = """
import json, sys
from tslrec_min.cli import main

for words in json.loads(sys.argv[1]):
    main(words, standalone_mode=False)
"""
"""A program that runs several commands, one after the other, in the processes of one launch."""


def torchrun(folder: Path, options: list[str], *words: object) -> subprocess.Popen[str]:
    """Start torchrun in a folder."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
                            start_new_session=True,
                            env=os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"})


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what torchrun printed to the two streams, at its end; none of its processes is left if it doesn't end."""
    try:
        return process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def program(folder: Path, commands: list[list[object]]) -> list[object]:
    """Return the words that run the commands as one program."""
    (folder / "commands.py").write_text(COMMANDS)
    return [folder / "commands.py", json.dumps([[str(word) for word in words] for words in commands])]


def launch(folder: Path, processes: int, commands: list[list[object]]) -> str:
    """Run the commands in several processes of one machine, and return what they print."""
    out = folder / "results"
    out.mkdir()
    process = torchrun(out, ["--standalone", "--nproc-per-node", str(processes)], *program(folder, commands))
    printed, said = ended(process)
    assert process.returncode == 0, said
    return printed


def close(one: Path, other: Path, **tolerances: float) -> None:
    """Tensors of two files: sums in another order, so equal but for rounding, which training amplifies."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name], tensor, **tolerances, err_msg=name)


def train(cycle: Path, model: str) -> list[object]:
    return ["train", cycle, "-o", model, *SMALL, *MODELS[model]]


def pretrain(cycle: Path) -> list[object]:
    return ["pretrain", cycle, "-o", "pretrain", "--categories", "4", *SMALL]


def finetune(cycle: Path, pretrained: Path, llm: Path) -> list[object]:
    # 54 users in batches of 17: the last has three, in prompts that fill several parts
    return ["finetune", cycle, pretrained, "-o", "finetune", "--model", llm, "--max-history", "6", "--batch-size", "17",
            "--parity-prompts", "4", "--batch-tokens", "100", "--threads", "1", "--learning-rate", "0.001",
            "--precision", "fp32"]


def evaluate(cycle: Path, run: Path) -> list[object]:
    return ["evaluate", cycle, run, "-o", "evaluate", "--threads", "1", "--json"]


@pytest.fixture(scope="module")
def alone(cycle: Path, pretrained: Path, llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what one process makes, and in printed.json what its evaluation prints."""
    folder = tmp_path_factory.mktemp("alone")
    with contextlib.chdir(folder):
        for words in (*(train(cycle, model) for model in MODELS), pretrain(cycle), finetune(cycle, pretrained, llm),
                      evaluate(cycle, folder / "sasrec")):
            done = tslrec(*words)
            assert done.exit_code == 0, done.output
        (folder / "printed.json").write_text(done.stdout)
        for words in (["train", cycle, "-o", "counted", "--model", "transitions", "--threads", "1"],
                      ["fuse", cycle, "counted", "sasrec", "popularity", "-o", "sum", "--threads", "1"],
                      ["evaluate", cycle, folder / "sum", "-o", "evaluate-sum", "--threads", "1"]):
            done = tslrec(*words)
            assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def by_three(cycle: Path, pretrained: Path, llm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of what three processes make, and what they print."""
    folder = tmp_path_factory.mktemp("three")
    commands = [*(train(cycle, model) for model in MODELS), finetune(cycle, pretrained, llm)]
    return folder / "results", launch(folder, 3, commands)


@pytest.fixture(scope="module")
def by_two(cycle: Path, alone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of what two processes make, and what they print."""
    folder = tmp_path_factory.mktemp("two")
    commands = [pretrain(cycle), ["train", cycle, "-o", "long", *LONG], evaluate(cycle, alone / "sasrec"),
                ["train", cycle, "-o", "counted", "--model", "transitions", "--threads", "1"],
                ["evaluate", cycle, alone / "sum", "-o", "evaluate-sum", "--threads", "1"]]
    return folder / "results", launch(folder, 2, commands)


@pytest.mark.parametrize("model", MODELS)
def test_several_processes_train_what_one_does(alone: Path, by_three: tuple[Path, str], model: str) -> None:
    # 120 windows in batches of 17: the last has one row, so two of three processes have nothing to read.
    folders = [alone / model, by_three[0] / model]
    close(*(folder / "model.safetensors" for folder in folders), atol=2e-4, rtol=1e-3)
    logs = [read_json(folder / "metrics.json")["epochs"] for folder in folders]
    for first, second in zip(*logs, strict=True):
        assert first == pytest.approx(second, abs=2e-3)
    assert by_three[1].count("best epoch") == len(MODELS)  # one process prints


def test_several_processes_count_and_add_up_what_one_does(alone: Path, by_two: tuple[Path, str]) -> None:
    for name in ("counted", "evaluate-sum"):
        assert read_json(alone / name / "config.json")["hash"] == read_json(by_two[0] / name / "config.json")["hash"]
    assert by_two[1].count("constants: places") == 1  # one process prints


def test_several_processes_evaluate_what_one_does(alone: Path, by_two: tuple[Path, str]) -> None:
    printed = [json.loads(line) for line in by_two[1].splitlines() if line.startswith("{")]
    assert printed == [json.loads((alone / "printed.json").read_text())]


def test_several_processes_pretrain_what_one_does(alone: Path, by_two: tuple[Path, str]) -> None:
    folders = [alone / "pretrain", by_two[0] / "pretrain"]
    close(*(folder / "model.safetensors" for folder in folders), atol=2e-4, rtol=1e-3)
    first, second = (load_arrays(folder / "categories.npz", ("labels", "centroids")) for folder in folders)
    np.testing.assert_array_equal(first["labels"], second["labels"])
    np.testing.assert_allclose(first["centroids"], second["centroids"], atol=2e-3)
    assert by_two[1].count("latent categories") == 1


def test_several_processes_fine_tune_what_one_does(alone: Path, by_three: tuple[Path, str]) -> None:
    folders = [alone / "finetune", by_three[0] / "finetune"]
    logs = [read_json(folder / "metrics.json") for folder in folders]
    assert logs[0]["training_losses"] == pytest.approx(logs[1]["training_losses"], rel=1e-4)
    assert logs[0]["best"] == pytest.approx(logs[1]["best"], rel=1e-4)
    one, three = (load_file(folder / "head.safetensors") for folder in folders)
    np.testing.assert_allclose(one["weight"], three["weight"], rtol=1e-2, atol=1e-4)


def test_several_processes_leave_their_results_alone(by_two: tuple[Path, str], by_three: tuple[Path, str]) -> None:
    made = ["counted", "evaluate", "evaluate-sum", "long", "pretrain"]
    assert sorted(path.name for path in by_two[0].iterdir()) == made
    assert sorted(path.name for path in by_three[0].iterdir()) == sorted([*MODELS, "finetune"])


def test_two_machines_train_and_evaluate_what_one_does(cycle: Path, alone: Path, tmp_path: Path) -> None:
    """Two launchers that know each other by address alone, each with a disk of its own; the first has the result."""
    machines = [tmp_path / name for name in ("one", "two")]
    for machine in machines:
        shutil.copytree(cycle, machine / "dataset")
        shutil.copytree(alone / "sasrec", machine / "sasrec")
    words = program(tmp_path, [["train", "dataset", "-o", "both", *SMALL],
                               ["evaluate", "dataset", "sasrec", "-o", "ranks", "--threads", "1"]])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ["--master-addr", "127.0.0.1", "--master-port", str(free.getsockname()[1])]
    started = [torchrun(machine, ["--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1", *address],
                        *words) for number, machine in enumerate(machines)]
    outputs = [ended(process) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert "best epoch" in outputs[0][0] and "full ranking" in outputs[0][0] and not outputs[1][0]  # the first prints
    close(*(machines[0] / name / "model.safetensors" for name in ("sasrec", "both")), atol=2e-4, rtol=1e-3)
    metrics = [read_json(folder / "metrics.json") for folder in (machines[0] / "ranks", alone / "evaluate")]
    assert metrics[0] == metrics[1]
    assert sorted(path.name for path in machines[0].iterdir()) == ["both", "dataset", "ranks", "sasrec"]
    assert sorted(path.name for path in machines[1].iterdir()) == ["dataset", "sasrec"]


def test_a_training_goes_on_when_torchrun_replaces_a_killed_process(cycle: Path, by_two: tuple[Path, str],
                                                                    tmp_path: Path) -> None:
    """Twice: the first process is killed, then the second one of those that replaced them."""
    process = torchrun(tmp_path, ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2"], "-m",
                       "tslrec_min.cli", "train", cycle, "-o", "run", *LONG)
    killed: list[int] = []
    for victim in (0, 1):
        workers = _training(process, tmp_path / ".run.checkpoint", killed)
        os.kill(workers[victim], signal.SIGKILL)
        killed += workers
    _, said = ended(process)
    assert process.returncode == 0 and said.count("resuming after") == 2, said
    close(by_two[0] / "long" / "model.safetensors", tmp_path / "run" / "model.safetensors", atol=2e-4, rtol=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def _training(launcher: subprocess.Popen[str], checkpoint: Path, older: list[int]) -> list[int]:
    """Return both processes, in the order of their ranks, when others than the older ones have saved a state."""
    before, end = None, time.monotonic() + 120
    while launcher.poll() is None and time.monotonic() < end:
        workers = _workers(launcher.pid)
        if len(workers) == 2 and not set(workers) & set(older):
            state = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            before = state if before is None else before
            if state != before:
                return workers
        time.sleep(0.01)
    raise AssertionError(f"no training was seen at work: {ended(launcher)}")


def _workers(launcher: int) -> list[int]:
    """Return the processes that torchrun started, in the order of their ranks."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    ranks = {}
    for child in children:
        with contextlib.suppress(OSError):  # it has just ended
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks |= {int(word[5:]): int(child) for word in variables if word.startswith(b"RANK=")}
    return [ranks[number] for number in sorted(ranks)]
