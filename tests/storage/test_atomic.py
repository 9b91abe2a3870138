from __future__ import annotations

import os
from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.storage.atomic import (
    REPLACED,
    alone_in,
    output_files,
    remove_leftovers,
    replace_file,
    sole_run,
    temporary_beside,
)


def test_a_second_run_in_a_folder_is_told_so(tmp_path: Path) -> None:
    with sole_run(tmp_path / "out"), pytest.raises(TslrecError, match="another tslrec run is using"), sole_run(
            tmp_path / "out"):
        pass
    with sole_run(tmp_path / "out"):
        pass


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


def test_leftovers_of_killed_processes_are_removed_and_others_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in (".out.tmp-999999999-12345678", ".other.tmp-999999999-12345678", ".out.tmp-mine"):
        (tmp_path / name).mkdir()
    remove_leftovers(out)
    assert sorted(os.listdir(tmp_path)) == [".other.tmp-999999999-12345678", ".out.tmp-mine"]


def test_what_a_killed_process_moved_aside_is_put_back(tmp_path: Path) -> None:
    moved = tmp_path / f".out.tmp-999999999-12345678{REPLACED}"
    moved.mkdir()
    (moved / "config.json").write_text("{}")
    remove_leftovers(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (tmp_path / "out" / "config.json").is_file()


def test_a_folder_that_is_being_written_is_not_a_leftover(tmp_path: Path) -> None:
    folder = temporary_beside(tmp_path / "out")
    folder.mkdir()
    with alone_in(folder), pytest.raises(TslrecError, match="is writing"):
        remove_leftovers(tmp_path / "out")
    assert folder.is_dir()


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with replace_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]
