from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def test_an_interrupted_command_ends_with_130(cycle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tslrec_min.cli", "train", str(cycle), "-o", str(tmp_path / "out"), "--epochs",
               "100000", "--patience", "100000", "--width", "8", "--threads", "1"]
    process = subprocess.Popen(  # a shell's background jobs ignore SIGINT, and so would this one
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / ".out.checkpoint").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and out == "" and err.strip().startswith("Interrupted"), err
    assert not list(tmp_path.glob(".out.tmp-*")) and not (tmp_path / "out").exists()
