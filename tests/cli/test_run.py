"""`tslrec run` from the command line: what is missing is named, and how to go on."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

from tslrec_min.cli import main
from tslrec_min.data.raw import readers as finding
from tslrec_min.storage.artifacts import read_json

from ..factories import tslrec, write_run


@pytest.mark.parametrize(("given", "named"), [
    ([], ["my loans.csv has no column for --user-column user_id, --item-column item_id, --time-column timestamp",
          "its columns are day, book, reader", "no titles beside my loans.csv", "--missing-titles blank"]),
    (["--items", "books.csv", "--time-column", "day"],
     ["--user-column user_id, --item-column item_id; its columns are day, book, reader",
      "books.csv has no column for --item-column item_id, --title-column title; its columns are shelf, book, called"]),
    (["--items", "books.csv", "--title-column", "called", "--user-column", "reader", "--time-column", "day"],
     ["my loans.csv has no column for --item-column item_id", "books.csv has no column for --item-column item_id"]),
    (["--items", "books.csv", "--item-column", "bok", "--user-column=reader", "--title-column", "called",
      "--time-column", "day"], ["my loans.csv has no column for --item-column bok"]),
    (["--missing-titles", "blank", "--columns", "reader,book"],
     ["--time-column timestamp; its columns are reader, book", "if there are no times", "give --time-column ''"]),
    (["--items", "other.csv"], ["other.csv has no column for --item-column item_id"]),
    (["--items", "books.csv", "--item-fields", "colour"], ["--item-fields colour"]),
    (["--items", "books.csv", "--user-column", "called", "--item-column", "book", "--title-column", "reader"],
     ["my loans.csv has no column for --user-column called", "they seem to be swapped"]),
])
def test_run_names_all_that_is_missing_at_once(given: list[str], named: list[str], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my loans.csv").write_text("day,book,reader\n2024-03-01,b1,r1\n", encoding="utf-8")
    (tmp_path / "books.csv").write_text("shelf,book,called\n1,b1,Heat\n", encoding="utf-8")
    (tmp_path / "other.csv").write_text("id,title\nb1,Heat\n", encoding="utf-8")
    refused = CliRunner().invoke(main, ["run", "my loans.csv", *given], prog_name="tslrec")
    assert refused.exit_code == 1 and refused.stderr.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert all(text in refused.stderr for text in named), refused.stderr


def test_run_takes_own_files_and_says_how_to_go_on(cycle_raw: Path, llm: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, tmp_path / "not-there", llm)
    assert "no-file.csv does not exist" in CliRunner().invoke(main, ["run", "no-file.csv"]).stderr
    text = (tmp_path / "run.toml").read_text(encoding="utf-8")
    (tmp_path / "wrong.toml").write_text(text.replace(str(llm), "smollm-135m"), encoding="utf-8")
    refused = CliRunner().invoke(main, ["run", "wrong.toml", "--data", str(cycle_raw)])
    assert refused.exit_code == 1 and "smollm-135m" in refused.stderr and "smollm2-135m" in refused.stderr
    assert not (tmp_path / "runs").exists()
    days = [f"{reader};{book};{day}" for line in (cycle_raw / "sequences.txt").read_text().splitlines()
            for reader, *books in [line.split()] for day, book in enumerate(books)]
    (tmp_path / "my loans.csv").write_text("reader;book;day\n" + "\n".join(days), encoding="utf-8")
    titles = (cycle_raw / "items.tsv").read_text(encoding="utf-8").replace("item_id\ttitle", "book\tname")
    (tmp_path / "books.tsv").write_text(titles, encoding="utf-8")
    own = ["--items", "books.tsv", "--user-column", "reader", "--item-column", "book", "--time-column", "day"]

    def tslrec(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--threads", "1"] if words[0] != "similar" else list(words))

    with monkeypatch.context() as patch:
        patch.setattr(finding, "find_source", Mock(wraps=finding.find_source))
        refused = tslrec("run", "my loans.csv", *own, "--k-core", "1000")  # by the built-in configuration
        assert refused.exit_code == 1 and "lower --k-core" in refused.stderr
        finding.find_source.assert_called_once()
    assert tslrec("run", "my loans.csv", *own, "--data", "books.tsv").exit_code == 2
    assert tslrec("run", "my loans.csv", *own, "--k-core", "-1").exit_code == 2
    assert not list((tmp_path / "runs").rglob("config.json"))

    result = tslrec("run", "run.toml", "--data", "my loans.csv", *own, "-o", "my runs")
    assert result.exit_code == 0, result.output
    assert "60 users, 24 items, 840 interactions; 0 left out by the 2-core" in result.stderr
    following = [shlex.split(line)[1:] for line in result.stderr.splitlines() if line.strip().startswith("tslrec ")]
    assert [words[0] for words in following] == ["recommend", "similar"]
    assert Path(following[0][2]) == Path("my runs", "serving") and "made again from all items" in result.stderr
    for words in following:
        assert tslrec(*[word.replace("ITEM", "i3") for word in words]).exit_code == 0, words
    written = (tmp_path / "recommendations.csv").read_text(encoding="utf-8")
    assert written.startswith("user,history,rank,item,score,title\n")


def test_run_file_problems_are_named_together(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text('source = 3\ncolour = 1\n[train]\nwidht = 2\n[[arms]]\nembeddings = "tuned"\n')
    result = tslrec("run", config)
    assert result.exit_code == 1
    for part in ("source", "'colour' (known: source,", "'widht' (did you mean width"):
        assert part in result.output, part
    config.write_text('source = "x"\n[[arms]]\nembedings = "tuned"\n')
    assert "unknown key 'embedings' (did you mean embeddings?)" in tslrec("run", config).output
    config.write_text('source = "x"\n[[arms]]\nembeddings = "tuned"\n')
    assert "embeddings 'tuned' with the adapter 'none'" in tslrec("run", config).output
    config.write_text("= nonsense")
    assert "can't be read as TOML" in tslrec("run", config).output


def test_data_takes_the_place_of_a_missing_source(cycle_raw: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('[prepare]\nk_core = 0\n[train]\nepochs = 1\nwidth = 8\n[evaluate]\ntest = "none"\n'
                      '[[arms]]\nname = "ids"\n')
    refused = tslrec("run", config, "-o", tmp_path / "out")
    assert refused.exit_code == 1 and "no key source" in refused.stderr and "--data" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = tslrec("run", config, "--data", cycle_raw, "-o", tmp_path / "out", "--threads", 1)
    assert not done.exit_code and (tmp_path / "out" / "evaluate").is_dir(), done.stderr


def test_sums_say_how_to_go_on(summed: Path, tmp_path: Path) -> None:
    shutil.copytree(summed / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "serving")
    result = tslrec("run", summed / "run.toml", "-o", tmp_path / "out", "--no-serving", "--threads", 1)
    assert result.exit_code == 0 and not (tmp_path / "out" / "serving").exists(), result.output
    assert "Use system: of all arms" in result.stdout and "arm, with its parts and embeddings" in result.stdout
    assert "Next, with the run of the best validation NDCG@10" in result.stderr
    words, = [shlex.split(line)[1:] for line in result.stderr.splitlines() if line.strip().startswith("tslrec ")]
    best = max((tmp_path / "out" / "train").iterdir(),
               key=lambda path: read_json(path / "metrics.json")["validation_ndcg@10"])
    assert words[0] == "recommend" and Path(words[2]) == best and "system" in best.name
    assert tslrec(*words[:-1], tmp_path / "r.csv", "--threads", 1).exit_code == 0
    result = tslrec("run", summed / "run.toml", "-o", tmp_path / "out", "--threads", 1)
    assert "Next, with system, made again from all items" in result.stderr
    assert str(tmp_path / "out" / "serving") in result.stderr and "serving" in result.stdout
