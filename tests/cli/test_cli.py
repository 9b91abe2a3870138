"""The command line: helpful, quick to answer, and one clear line for every mistake."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tslrec_min.cli import main
from tslrec_min.configs import PrepareConfig
from tslrec_min.data.prepare import prepare

from ..factories import tslrec, write_cycle


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_and_option_has_help_and_an_example(path: tuple[str, ...]) -> None:
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    text = tslrec(*path, "--help").output
    if not isinstance(command, click.Group):
        assert f"tslrec {' '.join(path)}" in text.split("Example", 1)[1]
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or parameter.help, parameter.name


def test_import_and_help_load_nothing_heavy_and_answer_at_once(tmp_path: Path) -> None:
    program = ("import sys, tslrec_min, tslrec_min.cli\n"
               "try: tslrec_min.cli.main(['--help'])\n"
               "except SystemExit: pass\n"
               "heavy = {'numpy', 'torch', 'transformers', 'llama_cpp', 'gguf', 'tqdm'} & sys.modules.keys()\n"
               "sys.exit(f'loaded: {heavy}' if heavy else 0)")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    seconds = []  # of processor time: on a busy machine the others' work would count too
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "tslrec_min.cli", "--help"], check=True, cwd=tmp_path,
                       stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5, seconds


def test_dry_run_prints_and_writes_nothing(prepared: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [f"u{row % 6},i{row % 5},{1_500_000_000 + 86_400 * row}\n" for row in range(120)]
    (raw / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "".join([*rows, "u1,i1,noon\n", "u1,i1\n"]))
    (raw / "items.csv").write_text("item_id,title\n" + "".join(f"i{item},T\n" for item in range(5)))
    before = sorted(tmp_path.rglob("*"))
    result = tslrec("prepare", raw, "--dry-run", "--on-bad-row", "skip", "--split", "temporal", "--from-time",
                    "2017-07-20", "-o", tmp_path / "out")
    assert result.exit_code == 0 and sorted(tmp_path.rglob("*")) == before
    for expected in ("users                             6\n", "2017-07-20 to 2017-11-10",
                     "left out: time can't be read      1 of the interactions: line 122",
                     "left out: wrong number of fields  1 of the interactions: line 123",
                     "left out: time                    6", "validation users                  6, from 2017-10-"):
        assert expected in result.output, result.output
    summary = json.loads(tslrec("prepare", raw, "--dry-run", "--on-bad-row", "skip", "--json").stdout)
    assert summary["median_length"] == 20 and summary["bad_rows"]["interactions"]["wrong number of fields"]["rows"] == 1
    assert tslrec("prepare", raw).exit_code == 2 and tslrec("prepare", raw, "--dry-run").exit_code == 1
    assert tslrec("prepare", raw, "--dry-run", "--test-share", 0.5, "--validation-share", 0.45).exit_code == 1


def write_bad_inputs(folder: Path) -> dict[str, Path]:
    raw = folder / "raw"
    wrong = folder / "wrong.csv"
    wrong.write_text("user,item_id,timestamp\n1,2,3\n")
    (folder / "items.csv").write_text("item_id,title\n2,x\n")
    unknown = folder / "unknown"
    unknown.mkdir()
    (unknown / "sequences.txt").write_text("u1 a b zzz\n")
    (unknown / "items.tsv").write_text("item_id\ttitle\na\tx\nb\ty\n")
    truncated = folder / "truncated.gguf"
    truncated.write_bytes(b"GGUF" + b"".join(n.to_bytes(size, "little") for n, size in ((3, 4), (2, 8), (5, 8))))
    return {"raw": raw, "wrong": wrong, "unknown": unknown, "truncated": truncated}


def test_mistakes_get_one_line_and_an_exit_code(prepared: Path, tmp_path: Path) -> None:
    bad = write_bad_inputs(tmp_path)
    dataset, out = prepared / "dataset", tmp_path / "out"
    prepare(write_cycle(tmp_path / "raw2", seed=3), tmp_path / "other", PrepareConfig(k_core=1))
    cases = [
        (("prepare", tmp_path / "nothing", "-o", out), 1, "does not exist"),
        (("prepare", bad["wrong"], "-o", out), 1, "--user-column"),
        (("prepare", bad["unknown"], "-o", out, "--k-core", 0), 1, "'zzz'"),
        (("prepare", prepared / "raw", "-o", dataset), 1, "--overwrite"),
        (("prepare", prepared / "raw"), 2, "--out"),
        (("prepare", prepared / "raw", "-o", out, "--k-core", -1), 2, "--k-core"),
        (("pretrain", prepared / "raw", "-o", out), 1, "config.json"),
        (("embed", dataset, "-o", out, "--model", bad["truncated"]), 1, "truncated.gguf"),
        (("embed", dataset, "-o", out, "--model", tmp_path / "no.gguf"), 1, "does not exist"),
        (("embed", dataset, "-o", out), 2, "--finetuned"),
        (("embed", dataset, "-o", out, "--model", bad["truncated"], "--pretrain", dataset), 1, "expected a pretrain"),
        (("train", dataset, "-o", out, "--adapter", "linear"), 1, "needs item embeddings"),
        (("train", dataset, "-o", out, "--device", "quantum"), 1, "--device quantum"),
        (("evaluate", dataset, tmp_path / "nothing"), 1, "does not exist"),
        (("run", tmp_path / "nothing.toml"), 1, "does not exist"),
        (("run", "quickstrat"), 1, "did you mean quickstart?"),
        (("run", tmp_path / "nothing"), 1, "a .toml file, or quickstart or ml-100k"),
        (("prepare", prepared / "rawe", "-o", out), 1, f"did you mean {prepared / 'raw'}?"),
        (("prepare", "ml-1m", "-o", out), 1, "does not exist; give a file of interactions or a folder that holds one"),
        (("prepare", "ml-10k", "-o", out), 1, "did you mean ml-100k?"),
        (("pretrain", prepared.parent / f"{prepared.name}x" / "dataset", "-o", out), 1, f"did you mean {dataset}?"),
        (("embed", dataset, "-o", out, "--model", "smolm2-135m"), 1, "did you mean smollm2-135m?"),
        (("embed", dataset, "-o", out, "--model", "tfid"), 1, "did you mean tfidf?"),
        (("embed", dataset, "-o", out, "--model", "all-minilm"), 1, "did you mean all-minilm-l6-v2?"),
        (("export", dataset, "nothing", "-o", out), 1, "tslrec embed or tslrec train wrote, or a file of vectors"),
        (("train", dataset, "-o", out, "--embeddings", "none.npy"), 1, "give a folder that tslrec embed wrote, or a"),
        (("similar", dataset, "1", "--run", dataset), 1, "expected a train artifact"),
        (("prepare", bad["wrong"], "-o", out, "--items", tmp_path), 1, "is a folder"),
        (("finetune", dataset, dataset, "-o", out), 1, "expected a pretrain"),
        (("gguf", "quantize", bad["truncated"], out, "--threads", 1), 1, "truncated.gguf"),
        (("gguf", "quantize", tmp_path, out), 1, "is a folder; give a .gguf file"),
        (("gguf", "quantize", tmp_path / "truncated.gguv", out), 1, "did you mean "),
        (("nonsense",), 2, "nonsense"),
        (("prepare", prepared / "raw", "-o", bad["wrong"] / "below-a-file"), 1, "check the path"),
        (("train", dataset, "-o", out, "--width", 10, "--heads", 3), 1, "--heads"),
        (("train", dataset, "-o", out, "--seed", 10**20), 2, "--seed"),
        (("gguf", "quantize", bad["wrong"], bad["wrong"]), 1, "already exists"),
        (("gguf", "quantize", bad["truncated"], tmp_path, "--overwrite"), 1, "is a folder"),
    ]
    for words, code, text in cases:
        result = tslrec(*words)
        assert result.exit_code == code, (words, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        message = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(message) == 1 and text in result.stderr, (words, result.stderr)
        assert not out.exists()


@pytest.mark.parametrize("words", ["pretrain nothing -o x", "finetune nothing x -o x", "train nothing -o x",
                                   "evaluate nothing x", "recommend nothing x -o x.csv", "run nothing",
                                   "run . --data nothing", "run . --items nothing", "report nothing",
                                   "evaluate {dataset} a=nothing"])
def test_a_wrong_path_is_refused_before_anything_slow_is_loaded(words: str, prepared: Path, tmp_path: Path) -> None:
    given = [word.format(dataset=prepared / "dataset") for word in words.split()]
    program = (f"import sys, tslrec_min.cli\ntry: tslrec_min.cli.main({given})\n"
               "except SystemExit as end: assert end.code == 1, end\n"
               "sys.exit('torch' in sys.modules)")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`tslrec ... | head -1`: more text than a pipe holds, and nobody to read it."""
    program = ("import click, sys; from tslrec_min.cli import main\n"
               "flood = lambda: [click.echo('x' * 999) for _ in range(9999)]\n"
               "main.add_command(click.Command('flood', callback=flood))\n"
               "main(['flood'])")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          cwd=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Error" not in process.stderr.read()
