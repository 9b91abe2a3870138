from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tslrec_min.storage.artifacts import read_json

from ..factories import tslrec


@pytest.fixture(scope="module")
def summed(cold: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fuse") / "sum"
    result = tslrec("fuse", cold, "transitions", f"text={trained / 'embed'}", trained / "linear", "-o", out,
                    "--threads", 1)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ("part alone sum without it weight at 1 weight at 5 weight at 20 weight at 100").split()
    assert [line.split()[0] for line in lines[2:5]] == ["linear", "text", "transitions"]
    assert "validation NDCG@10 of the sum" in lines[5]
    return out


def test_a_sum_goes_where_a_run_goes(cold: Path, trained: Path, summed: Path, tmp_path: Path) -> None:
    result = tslrec("fuse", cold, "transitions", "popularity", "-o", tmp_path / "two", "--json", "--threads", 1)
    assert [part["name"] for part in json.loads(result.stdout)["parts"]] == ["popularity", "transitions"]
    result = tslrec("evaluate", cold, f"sum={summed}", f"linear={trained / 'linear'}", "-o", tmp_path / "results",
                    "--threads", 1)
    assert result.exit_code == 0 and "sum" in result.stdout and "p (Holm)" in result.stdout, result.stderr
    result = tslrec("compare", tmp_path / "results", "--json")
    assert json.loads(result.stdout)["arms"]["sum"]["filtered"]["ndcg@10"]["mean"] > 0.7
    result = tslrec("recommend", cold, summed, "-o", tmp_path / "best.jsonl", "--threads", 1)
    assert result.exit_code == 0 and len((tmp_path / "best.jsonl").read_text().splitlines()) == 60
    said = "is the sum of several recommenders, which has no item table"
    for words in (("similar", cold, "i3", "--run", summed), ("export", cold, summed, "-o", tmp_path / "vectors.npy")):
        refused = tslrec(*words)
        assert refused.exit_code == 1 and said in refused.stderr


def test_a_run_without_training_has_no_item_table(cold: Path, tmp_path: Path) -> None:
    result = tslrec("train", cold, "--model", "transitions", "-o", tmp_path / "counted", "--threads", 1)
    assert result.exit_code == 0 and "constants: places" in result.stdout
    for words in (("similar", cold, "i3", "--run", tmp_path / "counted"),
                  ("export", cold, tmp_path / "counted", "-o", tmp_path / "vectors.npy")):
        refused = tslrec(*words)
        assert refused.exit_code == 1 and "is transitions, which has no item table" in refused.stderr


def test_weights_are_taken_over(cold: Path, trained: Path, summed: Path, tmp_path: Path) -> None:
    words = ("fuse", cold, "transitions", f"text={trained / 'embed'}", trained / "linear", "-o", tmp_path / "again")
    assert tslrec(*words, "--weights-from", summed, "--threads", 1).exit_code == 0
    assert read_json(tmp_path / "again" / "weights.json") == read_json(summed / "weights.json")
    refused = tslrec(*words, "--weights-from", tmp_path / "agai", "--overwrite")
    assert refused.exit_code == 1 and f"did you mean {tmp_path / 'again'}?" in refused.stderr


@pytest.mark.parametrize(("parts", "code", "message"), [
    ((), 2, "Missing argument 'PARTS...'"), (("popularity",), 2, "a sum has at least two PARTS"),
    (("transition", "popularity"), 1, "transition does not exist; give a folder that tslrec train or tslrec embed "
     "wrote, a file of vectors, or popularity, itemknn or transitions (did you mean transitions?)"),
    (("a=nowhere", "popularity"), 1, "nowhere does not exist; give a folder that tslrec train"),
    (("content", "popularity"), 1, "content compares item embeddings; give them as the part"),
    (("popularity", "popularity"), 1, "two parts are called 'popularity'; give them names: NAME=popularity")])
def test_what_is_no_sum_is_said(cold: Path, tmp_path: Path, parts: tuple[str, ...], code: int, message: str) -> None:
    result = tslrec("fuse", cold, *parts, "-o", tmp_path / "sum")
    assert result.exit_code == code and message in " ".join(result.stderr.split())
    assert not (tmp_path / "sum").exists()


def test_mistakes_are_said_before_torch_is_loaded(cold: Path, tmp_path: Path) -> None:
    program = ("import sys\nfrom click.testing import CliRunner\nfrom tslrec_min.cli import main\n"
               "result = CliRunner().invoke(main, sys.argv[1:])\n"
               "assert 'torch' not in sys.modules and result.exit_code == 1, result.output")
    subprocess.run([sys.executable, "-c", program, "fuse", cold, "transition", "popularity", "-o", tmp_path / "sum"],
                   check=True, cwd=tmp_path)


def test_torchrun_is_refused(cold: Path, tmp_path: Path) -> None:
    """Nothing here is divided among processes."""
    result = tslrec("fuse", cold, "popularity", "transitions", "-o", tmp_path / "sum",
                    TORCHELASTIC_RUN_ID="x", WORLD_SIZE="2")
    assert result.exit_code == 1 and "run it without torchrun" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_at_any_time_it_leaves_nothing_or_all(cold: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tslrec_min.cli", "fuse", str(cold), "popularity", "transitions", "-o",
             str(tmp_path / "sum"), "--threads", "1"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(path.name.startswith(".sum") for path in tmp_path.iterdir()):
        time.sleep(0.002)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "sum").exists() or (tmp_path / "sum" / "config.json").is_file()
    result = tslrec("fuse", cold, "popularity", "transitions", "-o", tmp_path / "sum", "--threads", 1, "--overwrite")
    assert result.exit_code == 0 and [path.name for path in tmp_path.iterdir()] == ["sum"]
