"""Killed, out of space, without permission, twice at once: robustness/fault_injection.py in small, and its parts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.llm.lora import add_lora, load_adapter, save_adapter
from tslrec_min.llm.model import load_language_model
from tslrec_min.storage.arrays import load_array, load_arrays
from tslrec_min.storage.artifacts import Recipe, is_current, open_artifact, read_json, write_artifact
from tslrec_min.storage.atomic import output_files, sole_run
from tslrec_min.storage.checkpoints import load_checkpoint, save_checkpoint
from tslrec_min.storage.tensors import save_tensors

from .test_fuzzing import PROGRAMS, run

KILLS = int(os.environ.get("TSLREC_KILLS", "4"))
"""Of each stage."""
RECIPE = Recipe("thing", {"a": 1}, {})
WRITER = ("import sys, time; from pathlib import Path; from tslrec_min.storage.artifacts import *\n"
          "with write_artifact(Path(sys.argv[1]), Recipe('thing', {'a': 1}, {})) as folder:\n"
          "    (folder / 'file').write_text('x'); print('ready', flush=True); sys.stdin.readline()")


def write(path: Path, text: str = "x", **options: bool) -> None:
    with write_artifact(path, RECIPE, **options) as folder:
        (folder / "file").write_text(text)


def test_killed_stages_end_as_undisturbed_ones() -> None:
    tallies = json.loads(run(PROGRAMS / "fault_injection.py", "--kills", KILLS, "--faults", 1, "--json",
                             "--stages", "prepare,pretrain,embed"))
    assert {name: tally["failures"] for name, tally in tallies.items() if tally["failures"]} == {}
    for tally in tallies.values():
        assert tally["counts"].get("SIGKILL", 0) + tally["counts"].get("SIGINT", 0) >= KILLS


def test_a_second_writer_of_an_artifact_is_told_so(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "ready\n"
        with pytest.raises(TslrecError, match=f"another process .number {first.pid}. is writing"):
            write(tmp_path / "a")
        write(tmp_path / "b")
        first.communicate("\n")
    assert first.returncode == 0 and sorted(os.listdir(tmp_path)) == ["a", "b"]
    write(tmp_path / "a", overwrite=True)


def test_what_is_left_by_a_process_of_the_same_number_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".a.tmp-{os.getpid()}-12345678").mkdir()
    write(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def test_names_with_brackets_and_stars_are_no_patterns(tmp_path: Path) -> None:
    for name in (".a[1].tmp-999999999-12345678", ".ab.tmp-999999999-12345678"):
        (tmp_path / name).mkdir()
    write(tmp_path / "a[1]")
    write(tmp_path / "a*")
    assert sorted(os.listdir(tmp_path)) == [".ab.tmp-999999999-12345678", "a*", "a[1]"]


def test_a_second_run_in_a_folder_is_told_so(tmp_path: Path) -> None:
    with sole_run(tmp_path / "out"), pytest.raises(TslrecError, match="another tslrec run is at work"), sole_run(
            tmp_path / "out"):
        pass
    with sole_run(tmp_path / "out"):
        pass


def test_a_record_guards_itself(tmp_path: Path) -> None:
    write(tmp_path / "a")
    record = read_json(tmp_path / "a" / "config.json")
    (tmp_path / "a" / "config.json").write_text(json.dumps({**record, "config": {"a": 2}}))
    with pytest.raises(TslrecError, match="not the record of an artifact"):
        open_artifact(tmp_path / "a", "thing")
    del record["record_hash"]  # of an older version
    (tmp_path / "a" / "config.json").write_text(json.dumps(record))
    assert is_current(tmp_path / "a", RECIPE)


def test_output_files_of_one_set_are_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "v.npy", tmp_path / "v.ids.txt"]
    for path in paths:
        path.write_text("old")
    (tmp_path / ".v.npy.tmp-999999999-12345678").write_text("of a killed process")
    renamed = []

    def stop_at_second(source: Path, target: Path) -> None:
        if renamed:
            raise KeyboardInterrupt
        renamed.append(os.rename(source, target))

    monkeypatch.setattr("tslrec_min.storage.atomic.os.replace", stop_at_second)
    with pytest.raises(KeyboardInterrupt), output_files(*paths, overwrite=True) as temporary:
        for path in temporary:
            path.write_text("new")
    assert os.listdir(tmp_path) == ["v.npy"] and paths[0].read_text() == "new"


def test_arrays_are_read_within_bounds_and_without_pickle(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(40_000_000))
    np.savez(tmp_path / "objects.npz", a=np.array([None]))
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00\x0a\x00{'descr':(\n")
    for name, message in (("bomb", "expands to 320,000"), ("objects", "never unpickled"), ("header", "damaged")):
        with pytest.raises(TslrecError, match=message):
            load_arrays(tmp_path / f"{name}.npz", ("a",))
    with zipfile.ZipFile(tmp_path / "bytes.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPI")
    with pytest.raises(TslrecError, match="can't be read as arrays .*magic"):
        load_arrays(tmp_path / "bytes.npz", ("a",))
    np.savez(tmp_path / "sound.npz", a=np.arange(6.0), b=np.zeros((0, 3)), c=np.float32(3))
    assert {name: array.tolist() for name, array in load_arrays(tmp_path / "sound.npz", ("a",)).items()} == {
        "a": [0, 1, 2, 3, 4, 5], "b": [], "c": 3}
    sound = (tmp_path / "sound.npz").read_bytes()
    (tmp_path / "sound.npz").write_bytes(sound.replace(np.float64(4).tobytes(), np.float64(5).tobytes(), 1))
    with pytest.raises(TslrecError, match="CRC"):
        load_arrays(tmp_path / "sound.npz", ("a",))
    os.rename(tmp_path / "objects.npz", tmp_path / "a.npy")
    with pytest.raises(TslrecError, match="archive of arrays"):
        load_array(tmp_path / "a.npy")


@pytest.mark.parametrize("further", [-1, 8, 200, 1_000_000])
def test_an_array_is_not_read_past_its_checksum(tmp_path: Path, further: int) -> None:
    """A member that claims to be longer: the checksum at its end would not be reached."""
    np.savez(tmp_path / "a.npz", a=np.arange(6.0))
    data = bytearray((tmp_path / "a.npz").read_bytes().replace(np.float64(4).tobytes(), np.float64(5).tobytes(), 1))
    sizes = data.index(b"PK\x01\x02") + 20  # in the directory: compressed, uncompressed
    for place in (sizes, sizes + 4):
        value = int.from_bytes(data[place:place + 4], "little") + further
        data[place:place + 4] = value.to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(TslrecError, match="can't be read as arrays"):
        load_arrays(tmp_path / "a.npz", ("a",))


def test_a_checkpoint_with_one_other_bit_is_not_taken_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Linear(8, 8)
    optimiser = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path / "c", model, optimiser, {}, {"recipe": "r"})
    assert load_checkpoint(tmp_path / "c", "r", model, optimiser) is not None
    data = bytearray((tmp_path / "c").read_bytes())
    data[-1] ^= 1
    (tmp_path / "c").write_bytes(data)
    assert load_checkpoint(tmp_path / "c", "r", model, optimiser) is None
    assert re.search(rf"{re.escape(str(tmp_path / 'c'))}, is damaged \(.*SHA-256.*begins anew", capsys.readouterr().err)
    assert os.listdir(tmp_path) == ["c"]
    (tmp_path / "c").unlink()
    assert load_checkpoint(tmp_path / "c", "r", model, optimiser) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("change", "message"), [
    ({"r": 10**9}, "of rank 1000000000"), ({"r": -1}, "whole number from 1"), ({"lora_dropout": 2.0}, "0 to 1"),
    ({"lora_alpha": "16"}, "lora_alpha is '16'"), ({"lora_alpha": 10**400}, "too large to convert"),
    ({"lora_alpha": float("nan")}, "lora_alpha is nan")])
def test_an_adapter_can_not_ask_for_memory(llm: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    network = load_language_model(llm).network
    add_lora(network, rank=2, alpha=4)
    save_adapter(network, tmp_path, alpha=4, dropout=0.0, base_model="tiny")
    config = read_json(tmp_path / "adapter_config.json")
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(TslrecError, match=message):
        load_adapter(load_language_model(llm).network, tmp_path)


def test_interrupts_within_llama_cpp_are_not_lost() -> None:
    import llama_cpp

    from tslrec_min.llm.llama_log import captured_llama_log

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    with pytest.raises(KeyboardInterrupt), captured_llama_log() as log:
        def interrupt(level: int, text: str) -> None:
            signal.raise_signal(signal.SIGINT)

        log.add = interrupt  # type: ignore[method-assign]
        assert threading.current_thread() is threading.main_thread()
        llama_cpp.llama_model_load_from_file(b"/nonexistent.gguf", llama_cpp.llama_model_default_params())
    signal.signal(signal.SIGINT, before)


def test_weights_that_can_not_be_written_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="can't be written .* check the free space"):
        save_tensors(tmp_path / "no such folder" / "a.safetensors", {"a": torch.zeros(3)})
