from __future__ import annotations

import pytest

from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import PrepareConfig, TrainConfig
from tslrec_min.errors import TslrecError


def test_good_values_and_defaults() -> None:
    config = from_mapping(TrainConfig, {"width": 32, "dropout": 0, "adapter": "linear"}, "here")
    assert config == TrainConfig(width=32, dropout=0.0, adapter="linear") and isinstance(config.dropout, float)
    assert from_mapping(PrepareConfig, {"min_rating": None}, "here").min_rating is None
    assert from_mapping(PrepareConfig, {"min_rating": 4}, "here").min_rating == 4.0


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(TslrecError) as caught:
        from_mapping(TrainConfig, {"widht": 3, "width": "64", "dropout": 1.5, "adapter": "magic", "epochs": True,
                                   "learning_rate": float("nan")}, "run.toml [train]")
    message = str(caught.value)
    for part in ("run.toml [train]", "'widht'", "'64' is not an integer", "0 to 0.95", "not one of none, linear, mlp",
                 "True is not an integer", "learning_rate"):
        assert part in message
