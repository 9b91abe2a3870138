from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.configs import EvaluateConfig
from tslrec_min.evaluation.artifact import save_ranks
from tslrec_min.evaluation.summary import report_of, summarise
from tslrec_min.storage.artifacts import Recipe, write_artifact, write_json

from ..factories import tslrec
from .factories import N_USERS, parts

DATA = {"evaluated_users": N_USERS, "users": N_USERS, "items": 300, "split_hash": "0123456789abcdef" * 4}


def store(folder: Path, *arms: str) -> None:
    ranks, groups = parts(("ids", *(arm for arm in arms if arm != "ids")))
    ranks = {protocol: {arm: by_arm[arm] for arm in arms} for protocol, by_arm in ranks.items()}
    names = {arm: [f"{arm}-{index}" for index in range(len(runs))] for arm, runs in ranks["filtered"].items()}
    with write_artifact(folder, Recipe("evaluate", {"head_share": 0.2}, {})) as temporary:
        write_json(temporary / "metrics.json",
                   report_of("test", DATA, names, summarise(ranks, groups, EvaluateConfig(resamples=9))))
        save_ranks(temporary, ranks, groups, [f"u{user}" for user in range(N_USERS)])


def test_the_examples_of_compare_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store(Path("results-1"), "ids", "tslrec")
    store(Path("results-2"), "ids", "bert4rec")
    store(Path("results-3"), "whatever")
    examples = [line.split()[1:] for line in tslrec("compare", "--help").output.splitlines()
                if line.strip().startswith("tslrec compare ")]
    assert len(examples) == 3
    plain, cut, written = [tslrec(*words) for words in examples]
    assert plain.exit_code == cut.exit_code == written.exit_code == 0, (plain.output, cut.output, written.output)
    assert "bert4rec" in plain.output and "lift over ids" in plain.output
    assert "gru4rec" in cut.output and "tail HR@50" in cut.output and "HR@10" not in cut.output
    assert written.output == "" and "tabular" in Path("table.tex").read_text()
    again = tslrec(*examples[2])
    assert again.exit_code == 1 and "table.tex already exists" in again.stderr
    assert tslrec(*examples[2], "--overwrite").exit_code == 0


def test_the_output_of_compare_is_whole_or_not_there(tmp_path: Path) -> None:
    store(tmp_path / "r", "ids", "tslrec")
    out = tmp_path / "new-folder" / "table.csv"
    words = ("compare", tmp_path / "r", "--format", "csv", "-o", out)
    assert tslrec(*words).exit_code == 0
    before = out.read_text()
    with open(out) as reader:  # has the old file until it is closed: the new one was renamed over it
        assert tslrec(*words, "--metric", "hr@3", "--overwrite").exit_code == 0
        assert reader.read() == before != out.read_text()
    assert tslrec("compare", tmp_path / "nothing", "-o", out, "--overwrite").exit_code == 1
    assert "hr@3" in out.read_text() and [path.name for path in out.parent.iterdir()] == ["table.csv"]
    assert "is a folder" in tslrec(*words[:-1], tmp_path).stderr


def test_mistakes_of_compare(tmp_path: Path) -> None:
    store(tmp_path / "r", "ids", "tslrec")
    for words, code, text in (((tmp_path / "nothing",), 1, "does not exist"), ((), 2, "RESULTS"),
                              ((tmp_path / "r", "--metric", "recall@10"), 2, "expected hr@K, ndcg@K or mrr"),
                              ((tmp_path / "r", "--baseline", "x"), 1, "--baseline 'x'")):
        result = tslrec("compare", *words)
        assert result.exit_code == code and text in " ".join(result.stderr.split()), result.stderr
