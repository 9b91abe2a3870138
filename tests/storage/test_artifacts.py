"""Artifacts are whole or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.storage.artifacts import Recipe, is_current, open_artifact, read_json, write_artifact, write_json

RECIPE = Recipe("thing", {"a": 1}, {"input": "abc"}, seed=3)
PLAIN_RECIPE = Recipe("thing", {"a": 1}, {})
WRITER = ("import sys, time; from pathlib import Path; from tslrec_min.storage.artifacts import *\n"
          "with write_artifact(Path(sys.argv[1]), Recipe('thing', {'a': 1}, {})) as folder:\n"
          "    (folder / 'file').write_text('x'); print('ready', flush=True); sys.stdin.readline()")


def make(path: Path, text: str = "hello", recipe: Recipe = RECIPE, **options: bool) -> None:
    with write_artifact(path, recipe, **options) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "data.txt").write_text(text)


def test_record_holds_recipe_hashes_versions_time_and_memory(tmp_path: Path) -> None:
    make(tmp_path / "a")
    record = open_artifact(tmp_path / "a", "thing").record
    assert record["config"] == {"a": 1} and record["inputs"] == {"input": "abc"} and record["seed"] == 3
    assert list(record["files"]) == ["sub/data.txt"]
    assert {"python", "tslrec-min", "torch", "numpy"} <= record["versions"].keys()
    assert record["wall_seconds"] >= 0 and record["peak_memory_mib"] > 1


def test_hash_depends_on_contents_alone(tmp_path: Path) -> None:
    make(tmp_path / "a")
    time.sleep(0.01)
    make(tmp_path / "elsewhere" / "b")
    make(tmp_path / "c", "other")
    hashes = [open_artifact(tmp_path / name, "thing").hash for name in ("a", "elsewhere/b", "c")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_existing_is_refused_and_overwrite_replaces_it(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(TslrecError, match="--overwrite"):
        make(tmp_path / "a")
    make(tmp_path / "a", "new", overwrite=True)
    assert (tmp_path / "a" / "sub" / "data.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_is_no_artifact_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(TslrecError, match="not an artifact"):
        make(tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_a_folder_with_another_config_json_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(TslrecError, match="not an artifact"):
        make(tmp_path / "model", overwrite=True)
    assert os.listdir(tmp_path / "model") == ["config.json"]


def test_an_artifact_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(TslrecError, match="is a thing artifact, so .* not replace it with one of kind other"):
        make(tmp_path / "a", recipe=Recipe("other", {}, {}), overwrite=True)
    assert open_artifact(tmp_path / "a", "thing")


def test_killed_in_the_instant_of_replacement_the_old_one_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / "a", "old")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    os.rename(tmp_path / "a", tmp_path / f".a.tmp-{gone.stdout.strip()}-12345678-replaced")
    with pytest.raises(TslrecError, match="already exists"):
        make(tmp_path / "a", "new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a" / "sub" / "data.txt").read_text() == "old"


def test_a_record_that_was_tampered_with_is_no_artifact(tmp_path: Path) -> None:
    make(tmp_path / "a")
    record = read_json(tmp_path / "a" / "config.json")
    record["files"] = {}
    (tmp_path / "a" / "config.json").write_text(json.dumps(record))
    with pytest.raises(TslrecError, match="not the record of an artifact"):
        open_artifact(tmp_path / "a", "thing")


def test_failure_leaves_nothing_and_keeps_the_old_one(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), write_artifact(tmp_path / "a", RECIPE, overwrite=True) as folder:
        (folder / "half.txt").write_text("x")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a"] and open_artifact(tmp_path / "a", "thing")


def test_damage_is_noticed(tmp_path: Path) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "sub" / "data.txt").write_text("hullo")
    with pytest.raises(TslrecError, match="changed or damaged"):
        open_artifact(tmp_path / "a", "thing")
    (tmp_path / "a" / "sub" / "data.txt").unlink()
    with pytest.raises(TslrecError, match="lacks sub/data.txt"):
        open_artifact(tmp_path / "a", "thing")
    with pytest.raises(TslrecError, match="does not exist"):
        open_artifact(tmp_path / "b", "thing")


def test_kind_is_checked(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(TslrecError, match="is a thing artifact; expected a dataset artifact"):
        open_artifact(tmp_path / "a", "dataset")
    (tmp_path / "run" / "thing").mkdir(parents=True)
    with pytest.raises(TslrecError, match="not a thing artifact; give the folder that tslrec thing wrote"):
        open_artifact(tmp_path / "run", "thing")
    (tmp_path / "run" / "thing" / "config.json").touch()
    with pytest.raises(TslrecError, match="did you mean .*run/thing?"):
        open_artifact(tmp_path / "run", "thing")
    with pytest.raises(TslrecError, match="is a thing artifact; expected an embed artifact"):
        open_artifact(tmp_path / "a", "embed")
    (tmp_path / "r.csv").touch()
    with pytest.raises(TslrecError, match="r.csv is a file, not the folder of a dataset .*; run tslrec prepare first"):
        open_artifact(tmp_path / "r.csv", "dataset")


@pytest.mark.parametrize("changed", [Recipe("thing", {"a": 2}, {"input": "abc"}, 3),
                                     Recipe("thing", {"a": 1}, {"input": "abd"}, 3),
                                     Recipe("thing", {"a": 1}, {"input": "abc"}, 4),
                                     Recipe("other", {"a": 1}, {"input": "abc"}, 3)])
def test_is_current_only_for_the_same_recipe(tmp_path: Path, changed: Recipe) -> None:
    make(tmp_path / "a")
    assert is_current(tmp_path / "a", RECIPE)
    assert not is_current(tmp_path / "a", changed)
    assert not is_current(tmp_path / "b", RECIPE)


def test_is_current_not_for_another_version_or_damage(tmp_path: Path) -> None:
    make(tmp_path / "a")
    record = read_json(tmp_path / "a" / "config.json")
    record["versions"]["tslrec-min"] = "0.0.0"
    (tmp_path / "a" / "config.json").write_text(json.dumps(record))
    assert not is_current(tmp_path / "a", RECIPE)
    make(tmp_path / "b")
    (tmp_path / "b" / "sub" / "data.txt").write_text("")
    assert not is_current(tmp_path / "b", RECIPE)


def test_kill_leaves_no_artifact_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    program = ("import sys, time; from pathlib import Path; from tslrec_min.storage.artifacts import *\n"
               "with write_artifact(Path(sys.argv[1]), Recipe('thing', {}, {})) as folder:\n"
               "    (folder / 'half').write_text('x'); print('ready', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "a")], stdout=subprocess.PIPE,
                          cwd=tmp_path) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "a").exists() and len(os.listdir(tmp_path)) == 1
    make(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def write(path: Path, text: str = "x", **options: bool) -> None:
    with write_artifact(path, PLAIN_RECIPE, **options) as folder:
        (folder / "file").write_text(text)


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


def test_a_record_guards_itself(tmp_path: Path) -> None:
    write(tmp_path / "a")
    record = read_json(tmp_path / "a" / "config.json")
    (tmp_path / "a" / "config.json").write_text(json.dumps({**record, "config": {"a": 2}}))
    with pytest.raises(TslrecError, match="not the record of an artifact"):
        open_artifact(tmp_path / "a", "thing")
    del record["record_hash"]  # of an older version
    (tmp_path / "a" / "config.json").write_text(json.dumps(record))
    assert is_current(tmp_path / "a", PLAIN_RECIPE)


@pytest.mark.parametrize(("key", "value"), [("inputs", None), ("config", 5), ("versions", []), ("inputs", [])])
def test_a_record_without_a_hash_of_its_own_has_all_that_records_have(tmp_path: Path, key: str, value: object) -> None:
    """Records of older versions have no hash of their own."""
    make(tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    record = read_json(path)
    del record["record_hash"]
    write_json(path, record)
    open_artifact(tmp_path / "a", "thing")
    write_json(path, record | {key: value})
    with pytest.raises(TslrecError, match="not the record of an artifact"):
        open_artifact(tmp_path / "a", "thing")
