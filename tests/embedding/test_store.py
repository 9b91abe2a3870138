"""The stage embed as a store: resumed, shared out, appended to; always the vectors of one undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tslrec_min.cli import main
from tslrec_min.configs import PrepareConfig
from tslrec_min.data.prepare import prepare
from tslrec_min.embedding import embed as stage
from tslrec_min.embedding.store import Part, ShardStore
from tslrec_min.errors import TslrecError
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.model import load_language_model
from tslrec_min.storage.artifacts import open_artifact, read_json

from ..factories import N_ITEMS
from ..tiny_llm import make_tiny_llm, save_gguf
from .factories import CONFIG, command, embed, files, interrupt, shards

N_SHARDS = N_ITEMS // 2
COMMAND = [sys.executable, "-m", "tslrec_min.cli"]
SLOWLY = """
import sys, time
from tslrec_min.cli import main
from tslrec_min.embedding.store import ShardStore
def slowly(call):
    return lambda *arguments: (time.sleep(0.05), call(*arguments))[1]
ShardStore.write, ShardStore.read = slowly(ShardStore.write), slowly(ShardStore.read)
main()
"""


def kill_when(arguments: list[str], reached: Callable[[], bool]) -> None:
    """Start a process that takes its time, and kill it when something has happened."""
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(random.uniform(0.001, 0.05))
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_killed_run_goes_on_and_computes_no_finished_shard_again(cycle: Path, gguf: Path, whole: Path, tmp_path: Path,
                                                                   computed: list[int]) -> None:
    out, found = tmp_path / "embed", {}
    for least in sorted(random.sample(range(1, N_SHARDS - 2), 2)):
        kill_when(command(cycle, gguf, out), lambda least=least: len(shards(out)) >= least)
        assert not out.exists() and len(shards(out)) >= least
        now = {file: file.stat().st_mtime_ns for file in shards(out)}
        assert found.items() <= now.items()  # none was made again
        found = now
    done = len(found)
    embed(cycle, gguf, out)
    assert computed == [2] * (N_SHARDS - done)
    assert files(out) == files(whole) and open_artifact(out, "embed").hash == open_artifact(whole, "embed").hash
    assert os.listdir(tmp_path) == ["embed"]


def test_a_process_killed_while_it_puts_the_artifact_together(cycle: Path, gguf: Path, whole: Path, tmp_path: Path,
                                                              computed: list[int]) -> None:
    out = tmp_path / "embed"
    kill_when(command(cycle, gguf, out), lambda: bool(list(tmp_path.glob(".embed.tmp-*"))))
    assert not out.exists() and len(shards(out)) == N_SHARDS
    embed(cycle, gguf, out)
    assert not computed and files(out) == files(whole) and os.listdir(tmp_path) == ["embed"]


def damage_nan(path: Path) -> None:
    np.savez(path, states=np.full((2, 64), np.nan, np.float32))


def damage_shape(path: Path) -> None:
    np.savez(path, states=np.zeros((1, 64), np.float32))


def damage_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_damaged_shards_are_made_again(cycle: Path, gguf: Path, whole: Path, tmp_path: Path, computed: list[int]
                                       ) -> None:
    out = tmp_path / "embed"
    interrupt(cycle, gguf, out, after=7)
    computed.clear()
    for path, damage in zip(shards(out), (damage_nan, damage_shape, damage_bit, damage_end), strict=False):
        damage(path)
    shards(out)[0].with_name(".000009-killed").write_bytes(b"half a shard")
    embed(cycle, gguf, out)
    assert len(computed) == N_SHARDS - 7 + 4 and files(out) == files(whole)
    assert os.listdir(tmp_path) == ["embed"]


def test_shards_of_another_recipe_are_never_taken(cycle: Path, gguf: Path, whole: Path, tmp_path: Path,
                                                  computed: list[int]) -> None:
    other_model = save_gguf(load_language_model(make_tiny_llm(tmp_path / "hf", seed=1)), tmp_path / "other.gguf")
    out = tmp_path / "store" / "embed"
    interrupt(cycle, other_model, out, after=3)
    for config in (replace(CONFIG, batch_tokens=100), replace(CONFIG, shard_size=3)):
        before = len(shards(out))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(ShardStore, "alone", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
            embed(cycle, gguf, out, config)
        assert len(shards(out)) == before + -(-N_ITEMS // config.shard_size)
    computed.clear()
    embed(cycle, gguf, out)
    assert len(computed) == N_SHARDS and files(out) == files(whole) and os.listdir(out.parent) == ["embed"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_parts_in_any_order_make_the_whole(cycle: Path, gguf: Path, whole: Path, tmp_path: Path, order: tuple[int, int],
                                           computed: list[int]) -> None:
    out = tmp_path / "embed"
    assert embed(cycle, gguf, out, part=Part(order[0], 2)) == N_SHARDS // 2 == len(shards(out))
    assert embed(cycle, gguf, out, part=Part(order[0], 2)) == N_SHARDS // 2  # again: nothing to do
    assert len(computed) == N_SHARDS // 2 and not out.exists()
    assert embed(cycle, gguf, out, part=Part(order[1], 2)) == 0
    assert embed(cycle, gguf, out, part=Part(order[1], 2)) == 0  # a part that comes late finds all done
    assert len(computed) == N_SHARDS and files(out) == files(whole) and os.listdir(tmp_path) == ["embed"]


def test_a_damaged_shard_of_another_part_is_its_to_make_again(cycle: Path, gguf: Path, whole: Path, tmp_path: Path,
                                                              computed: list[int]) -> None:
    out = tmp_path / "embed"
    embed(cycle, gguf, out, part=Part(0, 2))
    damage_bit(shards(out)[1])
    assert embed(cycle, gguf, out, part=Part(1, 2)) == 1 and not out.exists()
    computed.clear()
    assert embed(cycle, gguf, out, part=Part(0, 2)) == 0
    assert computed == [2] and files(out) == files(whole) and os.listdir(tmp_path) == ["embed"]


def test_the_command_without_a_part_does_what_is_missing(cycle: Path, gguf: Path, whole: Path, tmp_path: Path,
                                                         computed: list[int]) -> None:
    out = tmp_path / "embed"
    embed(cycle, gguf, out, part=Part(1, 3))
    assert embed(cycle, gguf, out) == 0 and len(computed) == N_SHARDS and files(out) == files(whole)
    with pytest.raises(TslrecError, match="already exists"):
        embed(cycle, gguf, out)


def test_a_part_that_is_overtaken_while_it_loads_the_model_computes_nothing(
        cycle: Path, gguf: Path, whole: Path, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, original = tmp_path / "embed", LlamaEngine.__init__

    def late(self: LlamaEngine, *arguments: object, **options: object) -> None:
        monkeypatch.setattr(LlamaEngine, "__init__", original)
        assert embed(cycle, gguf, out) == 0  # another process does it all
        original(self, *arguments, **options)

    monkeypatch.setattr(LlamaEngine, "__init__", late)
    assert embed(cycle, gguf, out, part=Part(1, 2)) == 0
    assert len(computed) == N_SHARDS and files(out) == files(whole) and os.listdir(tmp_path) == ["embed"]


def test_processes_at_the_same_time_make_the_whole(cycle: Path, gguf: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "embed"
    parts = ["1/2", "2/2", "2/2"]  # one of them twice, by mistake
    running = [subprocess.Popen([*COMMAND, *command(cycle, gguf, out, "--shard", part)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for part in parts]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert all(not error for _, error in outputs) and any("24 items x 64" in output for output, _ in outputs)
    assert files(out) == files(whole) and os.listdir(tmp_path) == ["embed"]


def test_torchrun_shares_the_work(cycle: Path, gguf: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "embed"
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
                           "tslrec_min.cli", *command(cycle, gguf, out)], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("24 items x 64") == 1 and files(out) == files(whole) and os.listdir(tmp_path) == ["embed"]


def test_torchs_first_process_waits_for_one_that_comes_late(cycle: Path, gguf: Path, whole: Path, tmp_path: Path
                                                            ) -> None:
    """All shards are there: were the artifact made at once, the late process would find it and refuse."""
    out = tmp_path / "embed"
    kill_when(command(cycle, gguf, out), lambda: bool(list(tmp_path.glob(".embed.tmp-*"))))
    launch = os.environ | {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2"}
    words = [*COMMAND, *command(cycle, gguf, out)]
    process = subprocess.Popen(words, env=launch | {"RANK": "0"}, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.parent.glob(".embed.shards/*/*-0")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert process.poll() is None and not out.exists()
    assert subprocess.run(words, env=launch | {"RANK": "1"}, capture_output=True, check=True).stdout == b""
    assert "24 items" in process.communicate(timeout=60)[0] and process.returncode == 0
    assert files(out) == files(whole)


def test_a_check_in_of_a_killed_launch_of_the_same_name_does_not_count(
        cycle: Path, gguf: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, parts = tmp_path / "embed", [Part(number, 2, "same") for number in range(2)]
    interrupt(cycle, gguf, out, after=3, part=parts[1])
    assert len(list(tmp_path.glob(".embed.shards/*/same-1"))) == 1
    original, seen = LlamaEngine.__init__, []

    def load(self: LlamaEngine, *arguments: object, **options: object) -> None:
        seen.append(list(tmp_path.glob(".embed.shards/*/same-*")))
        original(self, *arguments, **options)

    monkeypatch.setattr(LlamaEngine, "__init__", load)
    assert embed(cycle, gguf, out, part=parts[1]) == 0 and seen == [[]]
    assert len(list(tmp_path.glob(".embed.shards/*/same-1"))) == 1 and not out.exists()
    assert embed(cycle, gguf, out, part=parts[0]) == 0 and files(out) == files(whole)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_bad_parts_are_usage_errors(cycle: Path, gguf: Path, tmp_path: Path, shard: str) -> None:
    result = CliRunner().invoke(main, command(cycle, gguf, tmp_path / "embed", "--shard", shard))
    assert result.exit_code == 2 and "not I/N with I from 1 to N" in result.output and not os.listdir(tmp_path)


def test_parts_by_hand_and_by_torchrun_exclude_each_other(cycle: Path, gguf: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, command(cycle, gguf, tmp_path / "embed", "--shard", "1/2"))
    assert result.exit_code == 2 and "give one of them" in result.output


def test_who_comes_last_leaves_no_store(cycle: Path, gguf: Path, whole: Path, tmp_path: Path, monkeypatch) -> None:
    """Another process finishes, and removes its store, while this one makes its plan."""
    planned = stage.plan_of

    def late(*arguments: object) -> object:
        shutil.copytree(whole, tmp_path / "out")
        return planned(*arguments)

    monkeypatch.setattr(stage, "plan_of", late)
    with pytest.raises(TslrecError, match="exists"):
        embed(cycle, gguf, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and files(tmp_path / "out") == files(whole)


@pytest.mark.llm
def test_real_model_takes_little_memory(real_data: Path, tmp_path: Path) -> None:
    prepare(real_data / "ml-100k", tmp_path / "dataset", PrepareConfig(k_core=80))
    arguments = ["embed", tmp_path / "dataset", "--model", "smollm2-135m", "-o", tmp_path / "embed", "--threads", 2]
    subprocess.run([*COMMAND, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    assert read_json(tmp_path / "embed" / "config.json")["peak_memory_mib"] < 0.6 * 1024
