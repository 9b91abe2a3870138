from __future__ import annotations

import dataclasses
import inspect

import pytest

from tslrec_min import api
from tslrec_min.configs import EmbedConfig, EvaluateConfig, FinetuneConfig, PrepareConfig, PretrainConfig, TrainConfig

STAGES = {"prepare": PrepareConfig, "pretrain": PretrainConfig, "finetune": FinetuneConfig, "embed": EmbedConfig,
          "train": TrainConfig, "evaluate": EvaluateConfig}


@pytest.mark.parametrize("name", STAGES)
def test_signature_and_help_name_every_option(name: str) -> None:
    function, config = getattr(api, name), STAGES[name]
    parameters = inspect.signature(function).parameters
    for field in dataclasses.fields(config):
        assert parameters[field.name].default == field.default
        assert f"    {field.name}: {field.metadata['help']}" in str(function.__doc__)
    assert "options" not in parameters
