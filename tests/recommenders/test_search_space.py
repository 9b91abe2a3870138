from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pytest

from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import TrainConfig
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.search_space import SPACE, Choice, LogUniform, Uniform, candidates, searched


@pytest.mark.parametrize("name", SPACE)
def test_what_is_drawn_is_allowed(name: str) -> None:
    random = np.random.default_rng(0)
    for value in {SPACE[name].draw(random) for _ in range(300)}:
        from_mapping(TrainConfig, {name: value}, name, refuse_unread=False)


def test_numbers_are_drawn_from_their_range() -> None:
    random = np.random.default_rng(0)
    drawn = np.array([LogUniform(1e-3, 1.0, zero=0.25).draw(random) for _ in range(4000)])
    positive = drawn[drawn > 0]
    assert (drawn == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert positive.min() >= 1e-3 and positive.max() <= 1
    assert (positive < 10**-1.5).mean() == pytest.approx(0.5, abs=0.04)  # as many below the middle of the logarithms
    assert {LogUniform(0.5, 0.52).draw(random) for _ in range(300)} == {0.5, 0.51, 0.52}
    plain = np.array([Uniform(0.1, 0.6).draw(random) for _ in range(4000)])
    assert plain.min() >= 0.1 and plain.max() <= 0.6 and plain.mean() == pytest.approx(0.35, abs=0.02)
    assert {Choice((1, "a")).draw(random) for _ in range(50)} == {1, "a"}


def test_only_what_the_recommender_reads_is_searched() -> None:
    assert {"heads", "table_decay"} <= searched(TrainConfig(), "", 99).keys()
    assert not {"units", "mask_probability"} & searched(TrainConfig(), "", 99).keys()
    recurrent = searched(TrainConfig(model="gru4rec", adapter="linear"), "", 99).keys()
    assert "units" in recurrent and not {"heads", "table_decay"} & recurrent
    assert list(searched(TrainConfig(), "learning-rate, width", 99)) == ["learning_rate", "width"]
    for vary, message in (("heads", "--vary heads: heads is not read with the given options"),
                          ("witdh", r"unknown key 'witdh' \(did you mean width\?\)")):
        with pytest.raises(TslrecError, match=message):
            searched(TrainConfig(model="gru4rec"), vary, 99)


@pytest.mark.parametrize(("longest", "lengths"), [(10, None), (50, None), (51, (50, 100)), (100, (50, 100)),
                                                  (101, (50, 100, 200)), (5000, (50, 100, 200))])
def test_windows_are_no_longer_than_the_histories_need(longest: int, lengths: tuple[int, ...] | None) -> None:
    space = searched(TrainConfig(), "", longest)
    assert (space["max_len"] == Choice(lengths)) if lengths else "max_len" not in space


def test_configurations_differ_and_follow_from_the_seed() -> None:
    given = TrainConfig(width=48, epochs=7)
    space = searched(given, "dropout,heads,decay", 99)
    found = candidates(given, space, 20)
    assert found[0] == given and len(found) == len({str(config) for config in found}) == 20
    assert candidates(given, space, 5) == found[:5]
    assert candidates(TrainConfig(width=48, epochs=7, seed=1), space, 20)[1:] != found[1:]
    for config in found:
        different = [item.name for item in fields(TrainConfig)
                     if getattr(config, item.name) != getattr(given, item.name)]
        assert set(different) <= set(space)


def test_a_small_space_has_few_configurations() -> None:
    assert {config.heads for config in candidates(TrainConfig(), searched(TrainConfig(), "heads", 99), 16)} == {1, 2, 4}
    narrow = TrainConfig(width=6)  # which four heads do not divide
    assert {config.heads for config in candidates(narrow, searched(narrow, "heads", 99), 16)} == {1, 2}


def test_what_a_drawn_configuration_does_not_read_stays_as_given() -> None:
    given, space = TrainConfig(), {"loss": Choice(("ce", "sampled")), "negatives": Choice((7, 8))}
    found = {(config.loss, config.negatives) for config in candidates(given, space, 16)}
    assert found == {("ce", given.negatives), ("sampled", 7), ("sampled", 8)}
    assert asdict(candidates(given, space, 1)[0]) == asdict(given)
