from __future__ import annotations

import os
from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.storage.atomic import output_files, sole_run


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
