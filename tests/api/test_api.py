"""The Python API: what the command line does, and nothing heavy before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tslrec_min
from tslrec_min import api
from tslrec_min.configs import EmbedConfig, EvaluateConfig, FinetuneConfig, PrepareConfig, PretrainConfig, TrainConfig
from tslrec_min.errors import TslrecError

from ..factories import api_functions

STAGES = {"prepare": PrepareConfig, "pretrain": PretrainConfig, "finetune": FinetuneConfig, "embed": EmbedConfig,
          "train": TrainConfig, "evaluate": EvaluateConfig}


def test_the_package_offers_every_function_of_the_module() -> None:
    assert api_functions()[:len(STAGES)] == list(STAGES)
    for name in api_functions():
        assert name in tslrec_min.__all__ and name in dir(tslrec_min)
        assert getattr(tslrec_min, name) is getattr(api, name)
    assert tslrec_min.TslrecError is TslrecError
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tslrec_min.trian  # noqa: B018


def test_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    program = ("import sys, tslrec_min\n"
               "assert not {'numpy', 'tqdm', 'tslrec_min.api'} & sys.modules.keys()\n"
               "tslrec_min.prepare, tslrec_min.set_verbosity\n"
               "heavy = {'torch', 'transformers', 'llama_cpp', 'gguf', 'numpy', 'tqdm'} & sys.modules.keys()\n"
               "sys.exit(f'loaded: {heavy}' if heavy else 0)")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
