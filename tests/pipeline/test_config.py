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


def test_problems_of_single_keys_are_named_together(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('source = 1\nitems = 2\nencoder = 3\nserving = 1\njobs = 0\nseeds = [0, 0]\n'
                      'colour = 1\n[[arms]]\n')
    with pytest.raises(TslrecError) as caught:
        load_run_config(config)
    for message in ("source: expected a built-in", "items: expected a file", "encoder: expected a model",
                    "serving: 1 is neither true nor false", "jobs: 0 is not an integer from 1",
                    "seeds: [0, 0] has duplicates", "unknown key 'colour'"):
        assert message in str(caught.value)
    for seeds in ("[]", "[-1]", "[true]", "0"):
        config.write_text(f"seeds = {seeds}\n[[arms]]\n")
        with pytest.raises(TslrecError, match="is not a list of integers from 0"):
            load_run_config(config)


def test_the_best_arm_is_made_for_serving_unless_the_file_says_no(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    for line, serving in (("", True), ("serving = true\n", True), ("serving = false\n", False)):
        config.write_text(f"{line}[[arms]]\n")
        assert load_run_config(config).serving is serving


def test_sums_are_fitted_on_targets_that_nothing_has_learned(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    arms = '[[arms]]\nname = "ids"\n[[arms]]\nname = "sum"\nparts = ["ids", "itemknn"]\n'
    for refit in ("validation", "all"):
        config.write_text(f'[train]\nrefit = "{refit}"\n{arms}')
        with pytest.raises(TslrecError, match="refit: the weights of arms with parts are fitted on validation targets"):
            load_run_config(config)
    config.write_text(arms)
    assert load_run_config(config).encoder == "all-minilm-l6-v2"
    config.write_text('[[arms]]\nname = "sum"\nparts = ["popularity", "itemknn"]\n')  # nothing that could be refitted
    assert [arm.parts for arm in load_run_config(config).arms] == [("popularity", "itemknn")]


def test_a_prefix_needs_an_encoder(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    text = '[embed]\nprefix = "query: "\n[[arms]]\nname = "titles"\nmodel = "content"\nembeddings = "{}"\n'
    config.write_text(text.format("encoder"))
    assert load_run_config(config).stages["embed"].prefix == "query: "
    config.write_text(text.format("untuned"))
    with pytest.raises(TslrecError, match="prefix: it is for encoders, and no arm has embeddings of one"):
        load_run_config(config)
