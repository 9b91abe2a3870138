"""`tslrec run` on a tiny random language model: killed, resumed and repeated."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tslrec_min.storage.artifacts import open_artifact, read_json

from ..factories import hashes, tslrec, write_run


def command(config: Path, out: Path) -> list[str]:
    return ["run", str(config), "-o", str(out), "--threads", "1", "--json"]


def output_of(words: list[str]) -> Any:
    """Run a command in this process."""
    done = tslrec(*words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_run_survives_kill_and_repeats_itself(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    config = write_run(tmp_path, cycle_raw, llm, pretrain_epochs=30)
    output_of(command(config, tmp_path / "whole"))
    expected = hashes(tmp_path / "whole")
    # dataset, two embeds, pretrain, finetune; probe; three arms of two seeds; evaluate, serving
    assert len(expected) == 5 + 1 + 6 + 2

    out = tmp_path / "killed"
    for stage, at_work in (("pretrain", ".pretrain.tmp-*"), ("embed", ".embed.shards")):
        process = subprocess.Popen([sys.executable, "-m", "tslrec_min.cli", *command(config, out)], cwd=tmp_path,
                                   stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(out.glob(at_work)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"{stage} was never seen at work"
        assert not (out / stage).exists() and list(out.glob(at_work))
        for record in out.rglob("config.json"):
            if ".tmp-" not in str(record):
                open_artifact(record.parent, read_json(record)["kind"])  # what is there is whole
    result = output_of(command(config, out))
    assert hashes(out) == expected
    assert not list(out.rglob("*.tmp-*")) and not list(out.rglob(".*.shards"))
    neighbours = result["category_neighbours"]
    assert list(neighbours) == ["embed-untuned", "embed"] and all(0 <= of["share"] <= 1 for of in neighbours.values())
    again = output_of(["embed", str(out / "dataset"), "--model", str(llm), "-o", str(tmp_path / "again"), "--pretrain",
                       str(out / "pretrain"), "--threads", "1", "--json"])
    assert again["category_neighbours"] == neighbours["embed-untuned"]
    made = {stage["name"]: stage["made"] for stage in result["stages"]}
    assert not made["dataset"] and not made["pretrain"] and not made["finetune"] and made["embed"]
