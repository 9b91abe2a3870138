"""What several test files build or ask alike."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from tslrec_min.cli import main


def tslrec(*words: object, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in ("recommend", *words, "--threads", 1)], input=text)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
