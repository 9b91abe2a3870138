from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.artifact import open_tuned
from tslrec_min.storage.artifacts import Recipe, write_artifact


def test_a_record_of_other_settings_is_refused(tmp_path: Path) -> None:
    own = {"model": "m", "loss": "kl", "quant": "F16"}
    for number, (config, message) in enumerate((
            (own | {"quant": 8}, "quant: 8"), (own | {"quant": "Q3"}, "quant: 'Q3'"), (own | {"colour": 1}, "'colour'"),
            (own, "lacks model-f16.gguf"), ({}, "config.json lacks model, loss, quant"))):
        with write_artifact(tmp_path / str(number), Recipe("finetune", config, {})):
            pass
        with pytest.raises(TslrecError, match=message):
            open_tuned(tmp_path / str(number))
