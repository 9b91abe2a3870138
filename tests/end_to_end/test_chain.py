"""`tslrec run` on a tiny random language model: killed, resumed and repeated."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tslrec_min.storage.artifacts import open_artifact, read_json

from ..factories import hashes, write_run


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "tslrec_min.cli", "run", str(config), "-o", str(out), "--threads", "1", "--json"]


def test_run_survives_kill_and_repeats_itself(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    config = write_run(tmp_path, cycle_raw, llm, pretrain_epochs=30)
    subprocess.run(command(config, tmp_path / "whole"), check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    expected = hashes(tmp_path / "whole")
    assert len(expected) == 5 + 6 + 1  # dataset, two embeds, pretrain, finetune; three arms of two seeds; evaluate

    out = tmp_path / "killed"
    for stage, at_work in (("pretrain", ".pretrain.tmp-*"), ("embed", ".embed.shards")):
        process = subprocess.Popen(command(config, out), cwd=tmp_path, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(out.glob(at_work)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"{stage} was never seen at work"
        assert not (out / stage).exists() and list(out.glob(at_work))
        for record in out.rglob("config.json"):
            if ".tmp-" not in str(record):
                open_artifact(record.parent, read_json(record)["kind"])  # what is there is whole
    finished = subprocess.run(command(config, out), check=True, cwd=tmp_path, capture_output=True, text=True)
    assert hashes(out) == expected
    assert not list(out.rglob("*.tmp-*")) and not list(out.rglob(".*.shards"))
    result = json.loads(finished.stdout)
    neighbours = result["category_neighbours"]
    assert list(neighbours) == ["embed-untuned", "embed"] and all(0 <= of["share"] <= 1 for of in neighbours.values())
    embed_again = [sys.executable, "-m", "tslrec_min.cli", "embed", str(out / "dataset"), "--model", str(llm), "-o",
                   str(tmp_path / "again"), "--pretrain", str(out / "pretrain"), "--threads", "1", "--json"]
    printed = subprocess.run(embed_again, check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    assert json.loads(printed)["category_neighbours"] == neighbours["embed-untuned"]
    made = {stage["name"]: stage["made"] for stage in result["stages"]}
    assert not made["dataset"] and not made["pretrain"] and not made["finetune"] and made["embed"]
