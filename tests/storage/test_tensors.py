from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.storage.tensors import save_tensors


def test_weights_that_can_not_be_written_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="can't be written .* check the free space"):
        save_tensors(tmp_path / "no such folder" / "a.safetensors", {"a": torch.zeros(3)})
