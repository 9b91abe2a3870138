from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tslrec_min.configs import PretrainConfig
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.pipeline.run import _compared, _fitting, run
from tslrec_min.storage.artifacts import read_json, write_json

from ..factories import hashes, write_run
from ..tiny_encoder import make_tiny_encoder


def test_editing_the_configuration_redoes_what_depends_on_it(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    config = write_run(tmp_path, cycle_raw, llm)
    config.write_text(config.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    probed = run(load_run_config(config), tmp_path / "out")["probe"]
    assert [row["name"] for row in probed["rows"]][:4] == [
        "transitions", "untuned", "tuned, states", "tuned, preferences"]
    config.write_text(config.read_text().replace("parity_prompts = 8", "parity_prompts = 10"))
    made = {stage["name"]: stage["made"] for stage in run(load_run_config(config), tmp_path / "out")["stages"]}
    assert made["finetune"] and not made["pretrain"] and not made["dataset"] and not made["train/1-ids-0"]
    assert not any(stage["made"] for stage in run(load_run_config(config), tmp_path / "out")["stages"])

    expected = hashes(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "train")
    stages = run(load_run_config(config), tmp_path / "out", jobs=2)["stages"]  # of one thread each, as before
    assert hashes(tmp_path / "out") == expected
    assert [stage["name"] for stage in stages if stage["made"]] == [
        "train/1-ids-0", "train/2-untuned-0", "train/3-tslrec-0"]


def made(out: Path, config: Path, **options: int) -> list[str]:
    """Run, and return the stages that were made."""
    return [stage["name"] for stage in run(load_run_config(config), out, **options)["stages"] if stage["made"]]


def test_all_kinds_of_arms_are_made_once_and_kept(summed: Path) -> None:
    result = run(load_run_config(summed / "run.toml"), summed / "out")
    assert [stage["name"] for stage in result["stages"]] == [
        "dataset", "embed-tfidf", "parts/content-tfidf", "parts/transitions", "train/1-popularity", "train/3-ids-0",
        "train/3-ids-1", "train/2-titles", "train/4-system-0", "train/4-system-1", "evaluate",
        "serving-parts/transitions", "serving-parts/content-tfidf", "serving-parts/3-ids-0", "serving"]
    assert not any(stage["made"] for stage in result["stages"])
    assert {arm: len(figures["runs"]) for arm, figures in result["evaluation"]["arms"].items()} == {
        "popularity": 1, "titles": 1, "ids": 2, "system": 2}
    assert result["best"] == "system" and result["advice"].startswith("Use system: ")
    assert result["seconds"].keys() == result["evaluation"]["arms"].keys() and not result["category_neighbours"]
    assert result["probe"] is None


def test_only_the_encoder_gets_the_prefix(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    config, encoder = tmp_path / "run.toml", make_tiny_encoder(tmp_path / "encoder")
    arms = "".join(f'[[arms]]\nname = "{kind}"\nmodel = "content"\nembeddings = "{kind}"\n'
                   for kind in ("encoder", "untuned"))
    config.write_text(f'source = "{cycle_raw}"\nencoder = "{encoder}"\nserving = false\n[finetune]\nmodel = "{llm}"\n'
                      f'[embed]\nengine = "torch"\nprefix = "query: "\n[evaluate]\ntest = "none"\n{arms}')
    run(load_run_config(config), tmp_path / "out")
    prefixes = [read_json(tmp_path / "out" / f"embed-{kind}" / "config.json")["config"]["prefix"]
                for kind in ("encoder", "untuned")]
    assert prefixes == ["query: ", ""]


def test_sums_are_resumed_after_an_interruption(summed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tslrec_min.recommenders import fuse

    shutil.copytree(summed / "out", tmp_path / "out")
    for name in ("train/2-titles", "train/4-system-0", "train/4-system-1", "evaluate", "serving"):
        shutil.rmtree(tmp_path / "out" / name)
    fitted, calls = fuse.fitted_sum, []

    def interrupted(*arguments: object) -> object:
        if calls:
            raise KeyboardInterrupt
        calls.append(arguments)
        return fitted(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fuse, "fitted_sum", interrupted)
        run(load_run_config(summed / "run.toml"), tmp_path / "out")
    assert (tmp_path / "out" / "train" / "2-titles").is_dir()
    assert not list((tmp_path / "out").rglob("*4-system*"))  # nor anything half made
    assert made(tmp_path / "out", summed / "run.toml") == [
        "train/4-system-0", "train/4-system-1", "evaluate", "serving"]
    assert hashes(tmp_path / "out") == hashes(summed / "out")


def test_several_jobs_make_the_same_sums(summed: Path, tmp_path: Path) -> None:
    shutil.copytree(summed / "out", tmp_path / "out")
    for name in ("train", "evaluate", "serving", "serving-parts"):
        shutil.rmtree(tmp_path / "out" / name)
    assert made(tmp_path / "out", summed / "run.toml", jobs=2, threads=1) == [
        "train/1-popularity", "train/3-ids-0", "train/3-ids-1", "train/2-titles", "train/4-system-0",
        "train/4-system-1", "evaluate", "serving-parts/transitions", "serving-parts/content-tfidf",
        "serving-parts/3-ids-0", "serving"]
    assert hashes(tmp_path / "out") == hashes(summed / "out")


def test_no_more_jobs_than_threads(summed: Path) -> None:
    config = replace(load_run_config(summed / "run.toml"), jobs=3)
    assert [run(config, summed / "out", threads=threads)["jobs"] for threads in (1, 2)] == [1, 2]


def test_item_embeddings_of_equal_texts_are_not_probed(tmp_path: Path) -> None:
    for folder, different in (("embed-untuned", 1), ("embed-encoder", 1), ("embed", 2)):
        (tmp_path / folder).mkdir()
        write_json(tmp_path / folder / "embed.json", {"different_prompts": different})
    assert _compared({"tfidf", "encoder", "untuned", "tuned"}, tmp_path) == {"tuned": tmp_path / "embed"}
    assert _compared({"tfidf", "encoder", "untuned"}, tmp_path) == {}, "nothing is fine-tuned"


def test_a_changed_part_makes_its_sums_again(summed: Path, tmp_path: Path) -> None:
    shutil.copytree(summed / "out", tmp_path / "out")
    config = tmp_path / "run.toml"
    config.write_text((summed / "run.toml").read_text().replace("epochs = 2", "epochs = 1"))
    assert made(tmp_path / "out", config) == ["train/3-ids-0", "train/3-ids-1", "train/4-system-0", "train/4-system-1",
                                              "evaluate", "serving-parts/3-ids-0", "serving"]
    config.write_text(config.read_text().replace('"transitions", "ids", ', '"itemknn", "ids", '))
    assert made(tmp_path / "out", config)[:4] == ["parts/itemknn", "train/4-system-0", "train/4-system-1", "evaluate"]


@pytest.mark.parametrize(("items", "categories", "said"), [(120, 30, True), (600, 128, False), (3, 2, True)])
def test_a_small_catalogue_gets_fewer_categories(tmp_path: Path, items: int, categories: int, said: bool,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    write_json(tmp_path / "dataset.json", {"items": items})
    with caplog.at_level("INFO", "tslrec_min"):
        assert _fitting(PretrainConfig(categories=128), tmp_path).categories == categories
    assert ("categories in place of 128" in caplog.text) is said
