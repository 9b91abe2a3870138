from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tslrec_min.configs import TrainConfig
from tslrec_min.pipeline.arms import PARTS, Arm, embeddings_of, parse_arms

IDS: dict[str, Any] = {"name": "ids"}


def parsed(given: Any, shared: dict[str, Any] | None = None) -> tuple[list[Arm], list[str]]:
    problems: list[str] = []
    return parse_arms(given, shared or {}, problems), problems


def test_an_arm_has_the_shared_settings_and_its_own() -> None:
    given = [{"width": 32}, {"name": "TSLRec + ids!", "embeddings": "tuned", "adapter": "moe"},
             {"name": "likely", "model": "popularity"}, {"name": "sum", "parts": ["arm 1", "content:encoder"]}]
    arms, problems = parsed(given, {"width": 16, "experts": 4})
    assert not problems
    assert [(arm.name, arm.folder, arm.embeddings, arm.seeded) for arm in arms] == [
        ("arm 1", "1-arm-1", "none", True), ("TSLRec + ids!", "2-tslrec-ids", "tuned", True),
        ("likely", "3-likely", "none", False), ("sum", "4-sum", "none", False)]
    assert [(arm.train.width, arm.train.experts) for arm in arms[:2]] == [(32, 8), (16, 4)]
    assert arms[2].train == TrainConfig(model="popularity")  # which reads no width
    assert arms[3].parts == ("arm 1", "content:encoder")


@pytest.mark.parametrize("given", [None, [], "ids", {}, [1], [{}, "ids"]])
def test_there_must_be_arms(given: Any) -> None:
    assert parsed(given) == ([], ["[[arms]]: expected at least one"])


@pytest.mark.parametrize(("arms", "message"), [
    ([{"name": 3}], "[[arms]] 1: name: 3 is not a string of printable characters"),
    ([IDS, {"name": ""}], "[[arms]] 2: name: '' is not a string of printable characters"),
    ([{"name": "a\nb"}], "[[arms]] 1: name: 'a\\nb' is not a string of printable characters"),
    ([{"widht": 8}], "[[arms]] 1: unknown key 'widht' (did you mean width or id_width?)"),
    ([{"width": "wide"}], "[[arms]] 1: width: 'wide' is not an integer"),
    ([{"embeddings": "bert"}], "[[arms]] 1: embeddings: 'bert' is not one of none, tfidf, encoder, untuned, tuned"),
    ([{"model": "content"}], "[[arms]] 1: model 'content' compares item embeddings; give `embeddings`"),
    ([{"embeddings": "tuned"}], "[[arms]] 1: embeddings 'tuned' with the adapter 'none'; an arm has both or neither"),
    ([{"adapter": "init"}], "[[arms]] 1: embeddings 'none' with the adapter 'init'; an arm has both or neither"),
    ([{"model": "itemknn", "embeddings": "tfidf"}], "[[arms]] 1: embeddings 'tfidf' with the adapter 'none'"),
    ([{"embeddings": "untuned", "adapter": "init", "vectors": "both"}],
     "[[arms]] 1: vectors 'both' need a fine-tuned model; the embeddings 'untuned' only have states"),
    ([{"model": "content", "embeddings": "encoder", "vectors": "preferences"}],
     "[[arms]] 1: vectors 'preferences' need a fine-tuned model"),
    ([{"seed": 1}], "[[arms]] 1: seed: the seeds are those of all arms; give them in `seeds`"),
    ([{"model": "popularity", "width": 8}], "[[arms]] 1: width = 8 is only used with model = sasrec, gru4rec"),
    ([IDS, IDS], "[[arms]]: two arms have the same name"),
    ([{"name": "arm 2"}, {}], "[[arms]]: two arms have the same name"),
    ([IDS, {"parts": "ids"}], "[[arms]] 2: parts: 'ids' is not a list of at least two names of arms"),
    ([IDS, {"parts": 3}], "[[arms]] 2: parts: 3 is not a list of at least two names of arms"),
    ([IDS, {"parts": ["ids"]}], "[[arms]] 2: parts: ['ids'] is not a list of at least two names of arms"),
    ([IDS, {"parts": ["ids", 1]}], "[[arms]] 2: parts: ['ids', 1] is not a list of at least two names of arms"),
    ([IDS, {"parts": ["ids", "ids"]}], "[[arms]] 2: parts: ['ids', 'ids'] has duplicates"),
    ([IDS, {"parts": ["ids", "popularity"], "width": 8}], "[[arms]] 2: unknown key 'width' (known: name, parts)"),
    ([IDS, {"parts": ["ids", "content"]}],
     "[[arms]] 2: parts: 'content' is neither an arm without parts ('ids') nor one of popularity, itemknn, "
     "transitions, content:tfidf, content:encoder, content:untuned, content:tuned, content-cca:tfidf, "
     "content-cca:encoder, content-cca:untuned, content-cca:tuned"),
    ([IDS, {"name": "sum", "parts": ["ids", "itemknn"]}, {"parts": ["sum", "ids"]}],
     "[[arms]] 3: parts: 'sum' is neither an arm without parts ('ids') nor"),
])
def test_what_does_not_fit_is_named(arms: list[dict[str, Any]], message: str) -> None:
    _, problems = parsed(arms)
    assert len(problems) == 1 and problems[0].startswith(message), problems


def test_all_problems_are_named_together() -> None:
    _, problems = parsed([{"name": ""}, {"embeddings": "tuned", "seed": 0}, {"parts": ["arm 2", "arm 2"], "rate": 1}])
    assert [problem.partition(": ")[0] for problem in problems] == [
        "[[arms]] 1", "[[arms]] 2", "[[arms]] 2", "[[arms]] 3", "[[arms]] 3"]


def test_shared_settings_must_be_read_by_an_arm() -> None:
    moe = {"name": "moe", "embeddings": "untuned", "adapter": "moe"}
    assert parsed([IDS, moe], {"experts": 4})[1] == []
    _, problems = parsed([IDS, {"name": "likely", "model": "popularity"}], {"experts": 4})
    assert [problem.partition(" is only")[0] for problem in problems] == ["[train]: no arm reads experts: experts = 4"]
    _, problems = parsed([{"model": "popularity"}, {"parts": ["arm 1", "itemknn"]}], {"width": 8})
    assert problems and problems[0].startswith("[train]: no arm reads width")


def test_embeddings_are_those_of_arms_and_of_parts_that_are_no_arms() -> None:
    arms, problems = parsed([IDS, {"name": "content:tuned", "model": "content", "embeddings": "tfidf"},
                             {"name": "sum", "parts": ["ids", "content:tuned", "content:encoder"]}])
    assert not problems and embeddings_of(arms) == {"none", "tfidf", "encoder"}


def test_parts_have_the_default_settings() -> None:
    assert {part: (embeddings, train.model) for part, (embeddings, train) in PARTS.items()} == {
        "popularity": ("none", "popularity"), "itemknn": ("none", "itemknn"), "transitions": ("none", "transitions"),
        **{f"{model}:{kind}": (kind, model) for model in ("content", "content-cca")
           for kind in ("tfidf", "encoder", "untuned", "tuned")}}


def test_the_file_can_have_sums(tmp_path: Path) -> None:
    from tslrec_min.pipeline.config import load_run_config

    from ..factories import write_sums

    arms = load_run_config(write_sums(tmp_path, tmp_path)).arms
    assert [arm.parts for arm in arms] == [(), ("popularity", "content:tfidf"), (),
                                           ("transitions", "ids", "content:tfidf")]
