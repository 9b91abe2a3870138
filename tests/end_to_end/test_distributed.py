"""Training under torchrun: several processes, the result of one."""

from __future__ import annotations

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

SMALL = ["--width", "16", "--blocks", "1", "--max-len", "8", "--batch-size", "17", "--epochs", "3",
         "--learning-rate", "0.005", "--dropout", "0.2", "--threads", "1"]


def tslrec(folder: Path, processes: int, *arguments: object) -> str:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "tslrec_min.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def close(one: Path, other: Path, **tolerances: float) -> None:
    """Tensors of two files: sums in another order, so equal but for rounding, which training amplifies."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name], tensor, **tolerances, err_msg=name)


@pytest.mark.parametrize("options", [
    ["--model", "sasrec"], ["--model", "bert4rec", "--loss", "gbce", "--negatives", "4"],
    ["--model", "gru4rec", "--units", "16", "--loss", "sampled", "--sampling", "batch"],
], ids=lambda options: options[1])
def test_several_processes_train_what_one_does(cycle: Path, tmp_path: Path, options: list[str]) -> None:
    # 120 windows in batches of 17: the last has one row, so two of three processes have nothing to read.
    outputs = [tslrec(tmp_path, count, "train", cycle, "-o", count, *SMALL, *options) for count in (1, 3)]
    close(*(tmp_path / str(count) / "model.safetensors" for count in (1, 3)), atol=2e-4, rtol=1e-3)
    logs = [read_json(tmp_path / str(count) / "metrics.json")["epochs"] for count in (1, 3)]
    for first, second in zip(*logs, strict=True):
        assert first == pytest.approx(second, abs=2e-3)
    assert outputs[1].count("best epoch") == 1  # one process prints
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


def test_several_processes_evaluate_what_one_does(cycle: Path, tmp_path: Path) -> None:
    tslrec(tmp_path, 1, "train", cycle, "-o", "run", *SMALL)
    one, two = (json.loads(tslrec(tmp_path, count, "evaluate", cycle, "run", "-o", f"on-{count}", "--json"))
                for count in (1, 2))
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["on-1", "on-2", "run"]


def test_several_processes_pretrain_what_one_does(cycle: Path, tmp_path: Path) -> None:
    outputs = [tslrec(tmp_path, count, "pretrain", cycle, "-o", count, "--categories", "4", *SMALL)
               for count in (1, 2)]
    close(*(tmp_path / str(count) / "model.safetensors" for count in (1, 2)), atol=2e-4, rtol=1e-3)
    found = [load_arrays(tmp_path / str(count) / "categories.npz", ("labels", "centroids")) for count in (1, 2)]
    np.testing.assert_array_equal(found[0]["labels"], found[1]["labels"])
    np.testing.assert_allclose(found[0]["centroids"], found[1]["centroids"], atol=2e-3)
    assert outputs[1].count("latent categories") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def torchrun(folder: Path, words: list[str], *arguments: object) -> subprocess.Popen[str]:
    """Start torchrun in a folder."""
    command = [sys.executable, "-m", "torch.distributed.run", *words, "-m", "tslrec_min.cli", *map(str, arguments)]
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


def test_two_machines_train_and_evaluate_what_one_does(cycle: Path, tmp_path: Path) -> None:
    """Two launchers that know each other by address alone, each with a disk of its own; the first has the result."""
    machines = [tmp_path / name for name in ("one", "two")]
    for machine in machines:
        shutil.copytree(cycle, machine / "dataset")
    tslrec(machines[0], 1, "train", "dataset", "-o", "alone", *SMALL)
    shutil.copytree(machines[0] / "alone", machines[1] / "alone")
    for arguments in (["train", "dataset", "-o", "both", *SMALL],
                      ["evaluate", "dataset", "alone", "-o", "ranks", "--threads", "1"]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = ["--master-addr", "127.0.0.1", "--master-port", str(free.getsockname()[1])]
        started = [torchrun(machine, ["--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1", *address],
                            *arguments) for number, machine in enumerate(machines)]
        outputs = [ended(process) for process in started]
        assert [process.returncode for process in started] == [0, 0], outputs
        assert outputs[0][0] and not outputs[1][0]  # the first one prints
    close(*(machines[0] / name / "model.safetensors" for name in ("alone", "both")), atol=2e-4, rtol=1e-3)
    tslrec(machines[0], 1, "evaluate", "dataset", "alone", "-o", "expected", "--threads", "1")
    assert read_json(machines[0] / "ranks" / "metrics.json") == read_json(machines[0] / "expected" / "metrics.json")
    assert sorted(path.name for path in machines[0].iterdir()) == ["alone", "both", "dataset", "expected", "ranks"]
    assert sorted(path.name for path in machines[1].iterdir()) == ["alone", "dataset"]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_training_goes_on_when_torchrun_replaces_a_killed_process(cycle: Path, tmp_path: Path, victim: int) -> None:
    options = [*SMALL, "--epochs", "30", "--patience", "30"]
    tslrec(tmp_path, 2, "train", cycle, "-o", "expected", *options)
    process = torchrun(tmp_path, ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1"],
                       "train", cycle, "-o", "run", *options)
    checkpoint, end = tmp_path / ".run.checkpoint", time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(_workers(process.pid)[victim], signal.SIGKILL)
    _, said = ended(process)
    assert process.returncode == 0 and "of an interrupted training" in said, said
    close(*(tmp_path / name / "model.safetensors" for name in ("expected", "run")), atol=2e-4, rtol=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "run"]


def _workers(launcher: int) -> list[int]:
    """Return the processes that torchrun started, in the order of their ranks."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    ranks = {}
    for child in children:
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks |= {int(word[5:]): int(child) for word in variables if word.startswith(b"RANK=")}
    return [ranks[number] for number in sorted(ranks)]


def test_several_processes_fine_tune_what_one_does(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    # 54 users in batches of 17: the last has three, in prompts that fill several parts
    options = ["--model", llm, "--max-history", "6", "--batch-size", "17", "--parity-prompts", "4", "--batch-tokens",
               "100", "--threads", "1", "--learning-rate", "0.001", "--precision", "fp32"]
    for count in (1, 3):
        tslrec(tmp_path, count, "finetune", cycle, pretrained, "-o", count, *options)
    logs = [read_json(tmp_path / str(count) / "metrics.json") for count in (1, 3)]
    assert logs[0]["training_losses"] == pytest.approx(logs[1]["training_losses"], rel=1e-4)
    assert logs[0]["best"] == pytest.approx(logs[1]["best"], rel=1e-4)
    one, three = (load_file(tmp_path / str(count) / "head.safetensors") for count in (1, 3))
    np.testing.assert_allclose(one["weight"], three["weight"], rtol=1e-2, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]
