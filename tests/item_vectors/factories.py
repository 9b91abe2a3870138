"""What several test files build or ask alike."""

from __future__ import annotations

from pathlib import Path


def write_ids(path: Path, ids: list[str]) -> Path:
    path.write_text("".join(f"{item}\n" for item in ids), encoding="utf-8")
    return path
