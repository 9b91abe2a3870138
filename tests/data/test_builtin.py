from __future__ import annotations

from pathlib import Path

from tslrec_min.data.builtin import resolve_dataset


def test_what_is_no_built_in_data_set_is_a_path() -> None:
    assert resolve_dataset("ml-1b") == (Path("ml-1b"), None)
