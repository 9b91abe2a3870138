from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tslrec_min.cli.probe import probe_text

from ..factories import tslrec


@pytest.fixture
def folder(cold: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the examples of the help work."""
    shutil.copytree(cold, tmp_path / "dataset")
    for name in ("embed", "embed-untuned"):
        shutil.copytree(trained / "embed", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_of_the_help_work(folder: Path) -> None:
    lines = [line.split()[1:] for line in tslrec("probe", "--help").output.replace("\\\n", "").splitlines()
             if line.strip().startswith("tslrec probe ")]
    assert len(lines) == 3
    plain, written, test = [tslrec(*words, "--threads", 1, "--resamples", 100) for words in lines]
    assert plain.exit_code == written.exit_code == test.exit_code == 0, (plain.output, written.output, test.output)
    title, header, _, *rows = plain.stdout.splitlines()
    assert title.startswith("validation: 60 users, 19 items") and header.split()[:3] == ["NDCG@10", "HR@10", "tail"]
    assert [row.split("  ")[0] for row in rows[:5]] == [
        "transitions", "embed-untuned", "embed", "transitions + embed-untuned", "transitions + embed"]
    assert rows[2].split()[-2:] == ["+0.0%", "1.0000"]  # the same vectors
    assert "lift: of NDCG@10 over embed-untuned and transitions + embed-untuned" in plain.stdout
    assert "were chosen by these targets" in plain.stdout and "reachable" in plain.stdout
    assert written.output == "" and "\ntransitions + tuned, shuffled, CCA " in Path("probe.txt").read_text()
    report = json.loads(test.stdout)
    assert report["split"] == "test" and len(report["rows"]) == 5 and len(report["comparisons"]) == 2
    again = tslrec(*lines[1])
    assert again.exit_code == 1 and "probe.txt already exists" in again.stderr
    assert tslrec(*lines[1], "--overwrite", "--threads", 1, "--json").exit_code == 0
    assert json.loads(Path("probe.txt").read_text())["split"] == "validation"


def test_one_set_is_compared_with_nothing_and_groups_without_users_have_no_figure(folder: Path) -> None:
    report = json.loads(tslrec("probe", "dataset", "embed", "--split", "test", "--threads", 1, "--json").stdout)
    report["rows"][1]["unreachable_ndcg@10"] = None
    text = probe_text(report)
    assert "lift" not in text and "chosen by" not in text and text.splitlines()[4].endswith("  -")


def test_progress_is_on_standard_error(folder: Path) -> None:
    result = tslrec("-v", "probe", "dataset", "embed", "--threads", 1, "--resamples", 10)
    assert "scoring embed" in result.stderr and "scoring" not in result.stdout


@pytest.mark.parametrize(("words", "code", "message"), [
    (("dataset",), 2, "Missing argument 'EMBEDDINGS...'"), (("dataset", "nothing"), 1, "nothing does not exist"),
    (("dataset", "dataset"), 1, "expected an embed artifact"),
    (("dataset", "a=embed", "a=embed-untuned"), 1, "two sets of item embeddings are called 'a'"),
    (("embed", "embed"), 1, "expected a dataset artifact"),
    (("dataset", "embed", "--vectors", "both"), 1, "has only states"),
    (("dataset", "embed", "--vectors", "auto"), 2, "'--vectors'")])
def test_mistakes_of_probe(folder: Path, words: tuple[str, ...], code: int, message: str) -> None:
    result = tslrec("probe", *words, "-o", "out.txt")
    assert result.exit_code == code and message in " ".join(result.stderr.split()), result.stderr
    assert not Path("out.txt").exists()


def test_torchrun_is_refused(folder: Path) -> None:
    result = tslrec("probe", "dataset", "embed", TORCHELASTIC_RUN_ID="x", WORLD_SIZE="2")
    assert result.exit_code == 1 and "run it without torchrun" in result.stderr
