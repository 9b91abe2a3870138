from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.evaluation.arms import parse_arms


def test_parse_arms() -> None:
    assert parse_arms(["a=x/0", "a=x/1", "y/b"]) == {"a": [Path("x/0"), Path("x/1")], "b": [Path("y/b")]}
    with pytest.raises(TslrecError, match="two runs are called 'b'"):
        parse_arms(["x/b", "y/b"])
