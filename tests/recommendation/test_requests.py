from __future__ import annotations

import json
from pathlib import Path

from .factories import tslrec


def test_new_histories_from_standard_input(cycle: Path, runs: Path) -> None:
    by_words = tslrec(cycle, runs / "sasrec", "--histories", "-", text="me i3 i4 i5\n\nyou i7\n")
    as_json = tslrec(cycle, runs / "sasrec", "--histories", "-",
                     text='{"user": "me", "items": ["i3", "i4", "i5"]}\r\n{"items": ["i7"], "user": "you"}')
    assert by_words.exit_code == 0 and by_words.stdout == as_json.stdout and by_words.stderr == ""
    rows = [json.loads(line) for line in by_words.stdout.splitlines()]
    assert [(row["user"], row["history"], len(row["items"])) for row in rows] == [("me", "given", 10),
                                                                                  ("you", "given", 10)]
    assert not {"i3", "i4", "i5"} & set(rows[0]["items"])
    for flag in ("--histories", "--users"):
        nothing = tslrec(cycle, runs / "sasrec", flag, "-", text="\n")
        assert (nothing.exit_code, nothing.stdout) == (0, "") and f"{flag} has no line" in nothing.stderr
    table = tslrec(cycle, runs / "sasrec", "--histories", "-", "--format", "csv", "-k", 1, text="me i3 i4 i5\n")
    assert table.stdout.splitlines()[0] == "user,history,rank,item,score" and len(table.stdout.splitlines()) == 2


def test_unknown_ids_are_named_with_their_line_or_left_out_and_counted(cycle: Path, runs: Path, tmp_path: Path) -> None:
    words = (cycle, runs / "sasrec", "--histories", "-")
    form = """expected a line such as u1 i3 i7 or {"user": "u1", "items": ["i3", "i7"]}"""
    cases = [("me i3\nyou i4 x1 i5 x2 x1\n", "input, line 2 (user 'you'): the data set has no item 'x1', 'x2'; remove"),
             ("me,i3\n", f"standard input, line 1 (user 'me,i3'; {form}): the history has no item"),
             ('["me", "i3"]\n', "line 1: expected a JSON object"), ("[me i9x\n", "(user '[me'): the data set has no"),
             ('{"user": "me"}\n', "line 1: expected a JSON object"),
             ('{"user": "me", "items": ["i3"]}\nyou i4\n', "line 2: expected a JSON object"),
             ('{"user": "me", "items": [true]}\n', "line 1: expected a JSON object"),
             ('{"user": "\\ud800", "items": ["i3"]}\n', "line 1: expected a JSON object"),
             ('{"user": ' + "[" * 100_000 + "\n", "line 1: expected a JSON object"),
             ("me " + " ".join(f"x{n}" for n in range(9)), "'x4' and 4 more")]
    for text, message in cases:
        result = tslrec(*words, "-o", tmp_path / "out.jsonl", text=text)
        assert result.exit_code == 1 and message in result.stderr and not list(tmp_path.iterdir()), result.output
    result = tslrec(*words, "--unknown", "skip", text="me i3 x1\nyou x2 x1\n")
    assert [json.loads(line)["user"] for line in result.stdout.splitlines()] == ["me"]
    assert "left out: 3 unknown items of histories, 1 users" in result.stderr
    only = tslrec(*words, "--unknown", "skip", "-o", tmp_path / "none.csv", text="you x2\n")
    assert only.exit_code == 0 and (tmp_path / "none.csv").read_text() == "user,history,rank,item,score\n"
    users = (cycle, runs / "sasrec", "--users", "-")
    assert "line 2: the data set has no user 'nobody'" in tslrec(*users, text="u1\nnobody\n").stderr
    result = tslrec(*users, "--unknown", "skip", text="u1\nnobody\n")
    assert len(result.stdout.splitlines()) == 1 and "1 users" in result.stderr
