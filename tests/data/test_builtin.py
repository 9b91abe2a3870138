from __future__ import annotations

import pytest

from tslrec_min.data.builtin import fetch_dataset
from tslrec_min.errors import TslrecError


def test_unknown_dataset_is_an_error() -> None:
    with pytest.raises(TslrecError, match="expected one of ml-100k"):
        fetch_dataset("ml-1b")
