from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.arms import check_sets, parse_arms, parse_sets


def test_parse_arms() -> None:
    assert parse_arms(["a=x/0", "a=x/1", "y/b"]) == {"a": [Path("x/0"), Path("x/1")], "b": [Path("y/b")]}
    with pytest.raises(TslrecError, match="two runs are called 'b'"):
        parse_arms(["x/b", "y/b"])


def test_parse_sets(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    assert parse_sets(["x/one", "two=y/one", str(tmp_path / "a=b"), "z/."]) == {
        "one": Path("x/one"), "two": Path("y/one"), "a=b": tmp_path / "a=b", "z": Path("z")}
    with pytest.raises(TslrecError, match="two sets of item embeddings are called 'one'; give them names: NAME=y/one"):
        parse_sets(["x/one", "y/one"])
    with pytest.raises(TslrecError, match="there are no item embeddings"):
        check_sets({})
