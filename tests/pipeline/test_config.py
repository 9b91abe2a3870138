from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.pipeline.config import load_run_config


def test_arms_of_a_run_have_adapters_and_controls(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    arm = '[[arms]]\nname = "{}"\nembeddings = "untuned"\nadapter = "{}"\ncontrol = "{}"\n'
    config.write_text('source = "x"\n' + arm.format("a", "moe", "none") + arm.format("b", "alphafuse", "shuffled"))
    assert [(found.train.adapter, found.train.control) for found in load_run_config(config).arms] == [
        ("moe", "none"), ("alphafuse", "shuffled")]
    config.write_text('source = "x"\n[train]\nrefit = "validation"\n[[arms]]\n')
    assert [found.train.refit for found in load_run_config(config).arms] == ["validation"]
    for text, message in (('[train]\nrefit = "all"\n[[arms]]\n', "refit = all: such an arm has learned the targets"),
                          ('[evaluate]\nsplit = "validation"\n[[arms]]\nrefit = "validation"\n', "of .evaluate. spl"),
                          ('[[arms]]\nname = "a"\n[[arms]]\nname = "b"\nrefit = "validation"\n',
                           "the arms have none and validation; all must have the same")):
        config.write_text(f'source = "x"\n{text}')
        with pytest.raises(TslrecError, match=message):
            load_run_config(config)
    config.write_text('source = "x"\n[[arms]]\ncontrol = "random"\n')
    with pytest.raises(TslrecError, match="control = random is only used with adapter; got adapter = none"):
        load_run_config(config)
