"""Configurations are checked as a whole, and every field is documented."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tslrec_min
from tslrec_min import configs
from tslrec_min.cli import main
from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import AdapterConfig, FinetuneConfig, PretrainConfig, TrainConfig
from tslrec_min.errors import TslrecError
from tslrec_min.pipeline.config import load_run_config

ALL = [value for value in vars(configs).values() if dataclasses.is_dataclass(value)]
CONDITIONAL = [pytest.param(config_class, field, id=f"{config_class.__name__}-{field.name}") for config_class in ALL
               for field in dataclasses.fields(config_class) if field.metadata["only_for"]]


@pytest.mark.parametrize("config_class", ALL)
def test_every_field_has_help_and_its_default_is_allowed(config_class: type) -> None:
    for field in dataclasses.fields(config_class):
        assert field.metadata["help"].endswith("."), field.name
    assert from_mapping(config_class, dataclasses.asdict(config_class()), "defaults") == config_class()


def test_fine_tuning_prompt_defaults_are_the_template_defaults() -> None:
    from tslrec_min.llm.prompts import PromptTemplate, template_of

    assert template_of(FinetuneConfig()) == PromptTemplate()


BOUNDED = [pytest.param(config_class, field, bound, id=f"{config_class.__name__}-{field.name}-{bound}")
           for config_class in (TrainConfig, FinetuneConfig) for field in dataclasses.fields(config_class)
           for bound in ("low", "high") if field.metadata[bound] is not None]


@pytest.mark.parametrize(("config_class", "field", "bound"), BOUNDED)
def test_values_beyond_a_bound_are_refused(config_class: type, field: dataclasses.Field[Any], bound: str) -> None:
    beyond = field.metadata[bound] + (-1 if bound == "low" else 1)
    with pytest.raises(TslrecError, match=f"{field.name}: .* is out of range; expected "):
        from_mapping(config_class, {field.name: beyond}, "given")


def test_a_negative_learning_rate_is_a_usage_error_of_the_command_line(cycle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", str(cycle), "-o", str(tmp_path / "out"), "--learning-rate", "-1"])
    assert result.exit_code == 2 and "'--learning-rate'" in result.stderr and "x>=0" in result.stderr


def other_value(field: dataclasses.Field[Any]) -> Any:
    """Return a value that is allowed and not the default."""
    if field.metadata["choices"]:
        return next(choice for choice in field.metadata["choices"] if choice != field.default)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, str):
        return "other"
    low, high = (field.metadata[key] for key in ("low", "high"))
    return next(value for value in (4, 3, 0.25) if value != field.default and (low is None or value >= low)
                and (high is None or value <= high))


@pytest.mark.parametrize(("config_class", "field"), CONDITIONAL)
def test_a_setting_that_nothing_reads_is_refused(config_class: type, field: dataclasses.Field[Any]) -> None:
    fields = {item.name: item for item in dataclasses.fields(config_class)}
    only_for, given = field.metadata["only_for"], {field.name: other_value(field)}
    read = {name: wanted[0] if wanted else other_value(fields[name]) for name, wanted in only_for.items()}
    assert getattr(from_mapping(config_class, given | read, "here"), field.name) == given[field.name]
    for name, wanted in only_for.items():
        unread = next((choice for choice in fields[name].metadata["choices"] or () if choice not in wanted),
                      None) if wanted else fields[name].default
        with pytest.raises(TslrecError, match=f"^here: {field.name} = .* is only used with {next(iter(only_for))}.*; "
                                              f"got {name} = {unread}$"):
            from_mapping(config_class, given | read | {name: unread}, "here")
        flag = f"--{name.replace('_', '-')}"
        assert f"Only with {flag}" in field.metadata["help"] or f" and {flag}" in field.metadata["help"]
        default = {field.name: field.default, name: unread}  # given, and of no effect anywhere
        assert from_mapping(config_class, default, "here") == config_class(**default)
        stored = from_mapping(config_class, given | read | {name: unread}, "an artifact", refuse_unread=False)
        assert getattr(stored, field.name) == given[field.name]


def test_several_conditions_and_every_problem_are_named() -> None:
    with pytest.raises(TslrecError) as caught:
        from_mapping(TrainConfig, {"popularity_exponent": 0.5, "cca_window": 3}, "train")
    assert str(caught.value) == (
        "train: cca_window = 3 is only used with adapter = cca; got adapter = none; popularity_exponent = 0.5 is only "
        "used with loss = sampled, bce or gbce and sampling = popularity; got loss = ce")


@pytest.mark.parametrize(("command", "message"), [
    ("train {dataset} --experts 4", "Error: --experts 4 is only used with --adapter moe; got --adapter none"),
    ("train {dataset} --no-init-whitening --adapter cca", "--no-init-whitening is only used with --adapter init; got"),
    ("pretrain {dataset} --units 8", "--units 8 is only used with --model gru4rec; got --model sasrec"),
    ("prepare {dataset} --cold-seed 3", "--cold-seed 3 is only used with --cold-items; got --cold-items 0.0"),
    ("embed {dataset} --model x --gpu-layers 3 --engine torch", "--gpu-layers 3 is only used with --engine llama; got"),
    ("evaluate {dataset} a={dataset} --test none --resamples 9", "only used with --test permutation or bootstrap; got"),
    ("run quickstart --validation-share 0.2", "--validation-share 0.2 is only used with --split temporal; got"),
])
def test_the_command_line_refuses_it_by_the_names_of_flags(cycle: Path, tmp_path: Path, command: str, message: str
                                                           ) -> None:
    words = [word.format(dataset=cycle) for word in command.split()]
    result = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "out")])
    assert result.exit_code == 1 and message in result.stderr, result.output
    assert not (tmp_path / "out").exists()


def test_python_refuses_it_by_the_names_of_keywords(cycle: Path, tmp_path: Path) -> None:
    for stage, options, message in (
            (tslrec_min.train, {"negatives": 9}, "train: negatives = 9 is only used with loss = sampled, bce or gbce"),
            (tslrec_min.pretrain, {"heads": 4, "model": "gru4rec"}, "pretrain: heads = 4 is only used with model = "),
            (tslrec_min.pretrain, {"adapter": "init"}, "unknown key 'adapter'")):
        with pytest.raises(TslrecError, match=message):
            stage(cycle, tmp_path / "out", **options)


@pytest.mark.parametrize(("text", "message"), [
    ("[finetune]\nselect = 'coverage'", r"\[finetune\]: select = coverage is only used with users; got users = 0"),
    ("[embed]\ntorch_precision = 'bf16'", r"\[embed\]: torch_precision = bf16 is only used with engine = torch"),
    ("[prepare]\nrating_column = 'stars'", r"\[prepare\]: rating_column = stars is only used with min_rating; got"),
    ("[evaluate]\ntest = 'none'\nseed = 3", r"\[evaluate\]: seed = 3 is only used with test = permutation or boot"),
    ("[pretrain]\nadapter = 'init'\npca_width = 3", r"\[pretrain\]: adapter, pca_width: .* belongs in \[train\] or \["),
    ("[train]\nexperts = 4", r"\[train\]: no arm reads experts: experts = 4 is only used with adapter = moe"),
    ("[[arms]]\nname = 'b'\nexperts = 4", r"\[\[arms\]\] 2: experts = 4 is only used with adapter = moe; got adapter"),
])
def test_a_run_file_refuses_it_by_the_names_of_keys(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text if "arms" not in text else "")
    with path.open("a") as file:
        file.write("\n[[arms]]\nname = 'ids'\n" + text * ("arms" in text))
    with pytest.raises(TslrecError, match=message):
        load_run_config(path)


def test_an_arm_leaves_out_what_it_does_not_read_of_the_shared_settings(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[train]\nexperts = 4\nvectors = 'states'\nloss = 'gbce'\ncalibration = 0.5\n"
                    "[[arms]]\nname = 'ids'\nloss = 'ce'\n"
                    "[[arms]]\nname = 'moe'\nembeddings = 'tuned'\nadapter = 'moe'\n")
    ids, moe = (arm.train for arm in load_run_config(path).arms)
    assert ids == TrainConfig() and moe == TrainConfig(adapter="moe", experts=4, vectors="states", loss="gbce",
                                                       calibration=0.5)


def test_pretraining_has_the_settings_of_training_but_for_adapters() -> None:
    names, of_training = ({item.name for item in dataclasses.fields(kind)} for kind in (PretrainConfig, TrainConfig))
    assert of_training - names == {item.name for item in dataclasses.fields(AdapterConfig)} | {"refit"}
    assert names - of_training == {"categories", "kmeans_restarts"}
    config = PretrainConfig(width=8, model="gru4rec", categories=3)
    assert config.training == TrainConfig(width=8, model="gru4rec")
    help = CliRunner().invoke(main, ["pretrain", "--help"]).output
    assert "--units" in help and "--adapter" not in help


def test_recommenders_without_training_read_no_setting_of_a_training() -> None:
    for name in ("width", "epochs", "loss", "table_decay", "adapter"):
        field = next(field for field in dataclasses.fields(TrainConfig) if field.name == name)
        for model in configs.COUNTING_MODELS:
            with pytest.raises(TslrecError, match=f"^here: {name} = .* is only used with model = sasrec, gru4rec, "
                                                  f"bert4rec or bsarec; got model = {model}"):
                from_mapping(TrainConfig, {"model": model, name: other_value(field)}, "here")
    assert from_mapping(TrainConfig, {"model": "content", "vectors": "states", "refit": "all"}, "here").seed == 0
    with pytest.raises(TslrecError, match="^here: vectors = states is only used with adapter; got adapter = none$"):
        from_mapping(TrainConfig, {"model": "popularity", "vectors": "states"}, "here")


def test_what_only_users_or_next_items_need_is_read_by_the_objectives_that_learn_them() -> None:
    for objective, read, unread in (
            ("two-level", {"users": 9, "window": "random", "virtual_users": 0.5, "target": "history", "batch_size": 4,
                           "projection": 8, "next_item_weight": 0.5}, {"offset": "none", "items_per_step": 3,
                                                                       "level": "instance"}),
            ("residual", {"projection": 8, "virtual_target": "category"}, {"next_item_weight": 0.5, "users": 9}),
            ("categories", {"users": 9}, {"projection": 8, "next_item_weight": 0.5})):
        assert from_mapping(FinetuneConfig, {"objective": objective, **read}, "here").objective == objective
        for name, value in unread.items():
            with pytest.raises(TslrecError, match=f"here: {name} = {value} is only used with objective = .*; got "
                                                  f"objective = {objective}"):
                from_mapping(FinetuneConfig, {"objective": objective, name: value}, "here")
