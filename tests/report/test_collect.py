from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tslrec_min.pipeline.config import load_run_config
from tslrec_min.pipeline.trainings import Trainings
from tslrec_min.report.collect import collect
from tslrec_min.storage.artifacts import Recipe, open_artifact, write_artifact

from ..factories import tslrec
from .factories import headings, parsed

pytest.importorskip("matplotlib")


@pytest.mark.parametrize(("stages", "sections"), [
    (["evaluate"], ["Summary", "Accuracy", "How it was made"]),
    (["finetune"], ["Summary", "Fine-tuning of the language model", "Quantisation and parity", "How it was made"]),
    (["dataset", "embed"], ["Summary", "Data set", "Item embeddings", "How it was made"]),
    (["embed"], ["Summary", "Item embeddings", "How it was made"]),
    (["pretrain", "dataset"], ["Summary", "Data set", "Training", "Latent categories", "How it was made"])])
def test_single_stages_have_their_sections_alone(whole: Path, tmp_path: Path, stages: list[str], sections: list[str]
                                                 ) -> None:
    result = tslrec("report", *(whole / stage for stage in stages), "-o", tmp_path / "r.html")
    assert result.exit_code == 0 and "without" in result.stderr
    root = parsed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert headings(root) == sections
    lacking = {line.split(" artifact")[0] for line in root.itertext()
               if line.startswith("no ") and " artifact" in line}
    roles = {"dataset", "pretrain", "finetune", "embed-untuned", "embed", "train", "evaluate"}
    assert lacking == {f"no {role}" for role in roles - set(stages)}


def test_trained_recommenders_alone_are_called_by_their_folders(whole: Path, tmp_path: Path) -> None:
    runs = sorted((whole / "train").iterdir())
    assert tslrec("report", *runs, "-o", tmp_path / "r.html").exit_code == 0
    texts = list(parsed((tmp_path / "r.html").read_text(encoding="utf-8")).itertext())
    assert all(run.name in texts for run in runs)


def test_several_runs_share_a_table_and_have_their_sections(whole: Path, tmp_path: Path) -> None:
    words = (f"first={whole}", f"<i>2</i>={whole}", f"stage={whole / 'evaluate'}", "-o", tmp_path / "r.html")
    assert tslrec("report", *words).exit_code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    root = parsed(text)
    assert headings(root) == ["Summary", "first", "<i>2</i>", "stage"] and "can't be compared" not in text
    common = next(root.iter("table"))
    assert [row[0].text for row in common.iter("tr")] == ["run", *(name for name in ("first", "<i>2</i>", "stage")
                                                                  for _ in range(3))]
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids)) and len(text.encode()) < 2_000_000


def test_stages_of_another_data_set_are_left_out_and_named(whole: Path, cycle: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "dataset")
    shutil.copytree(cycle, tmp_path / "run" / "dataset")
    assert tslrec("report", tmp_path / "run", "-o", tmp_path / "r.html").exit_code == 0
    root = parsed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert headings(root) == ["Summary", "Data set", "How it was made"]
    assert "pretrain: was made from another dataset artifact than the one shown" in "".join(root.itertext())


def test_figures_of_other_item_embeddings_are_left_out(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    inputs = {"dataset": open_artifact(whole / "dataset", "dataset").hash, "embeddings tuned": 64 * "0"}
    with write_artifact(tmp_path / "run" / "probe", Recipe("probe", {}, inputs), overwrite=True):
        pass
    run, = collect([str(tmp_path / "run")])
    assert run.left_out == ["probe: was made from other item embeddings than those shown"] and not run.stages["probe"]
    run, = collect([str(tmp_path / "run" / "probe")])
    assert run.stages["probe"] and not run.left_out, "alone it stands for itself"


def test_artifacts_of_a_run_without_a_language_model_have_their_roles(summed: Path) -> None:
    run, = collect([str(summed / "out")])
    assert {role: [artifact.path.name for artifact in found] for role, found in run.stages.items() if found} == {
        "dataset": ["dataset"], "embed-tfidf": ["embed-tfidf"], "part": ["content-tfidf", "transitions"],
        "train": ["1-popularity", "2-titles", "3-ids-0", "3-ids-1", "4-system-0", "4-system-1"],
        "evaluate": ["evaluate"], "serving": ["serving", "3-ids-0", "content-tfidf", "transitions"]}
    assert not run.missing and not run.left_out and list(run.spreads) == ["embed-tfidf"]
    assert [arm for arm, _ in run.trainings()] == ["popularity", "titles", "ids", "ids", "system", "system"]


def test_a_run_takes_as_long_as_all_that_it_was_made_from(summed: Path, whole: Path) -> None:
    for folder, config in (summed / "out", summed / "run.toml"), (whole, whole.parent / "run.toml"):
        run, = collect([str(folder)])
        expected = Trainings(load_run_config(config), folder).seconds()
        for arm, runs in run.runs().items():
            assert sum(map(run.seconds, runs)) / len(runs) == pytest.approx(expected[arm])
        assert run.runs().keys() == expected.keys()


def test_what_recommenders_were_made_from_is_missed(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    for stage, missing in (("embed-untuned", ["embed-untuned"]), ("finetune", ["finetune", "embed-untuned"]),
                           ("dataset", ["dataset", "finetune", "embed-untuned"])):
        shutil.rmtree(tmp_path / "run" / stage)
        assert collect([str(tmp_path / "run")])[0].missing == missing


def test_figures_that_need_all_runs_are_left_out_without_one(summed: Path, tmp_path: Path) -> None:
    shutil.copytree(summed / "out", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "train" / "3-ids-1")
    assert collect([str(tmp_path / "run")])[0].runs() == {}
    assert tslrec("report", tmp_path / "run", "-o", tmp_path / "r.html").exit_code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Use system" not in text and "time a run" not in text and "than the first arm" in text
